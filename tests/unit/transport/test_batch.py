"""The batch consumer, run in this process over a stand-in for the thread that talks to Kafka."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from aiokafka.errors import IllegalStateError, KafkaConnectionError
from faust.types import TP

from analytics.errors import TransportError
from analytics.transport import batch as module
from analytics.transport.batch import consumer_of
from analytics.transport.fetching import Fetched
from analytics.transport.records import RecordBatch
from tests.unit.transport.rig import (
    CHANGELOG,
    EVENTS,
    OTHER_EVENTS,
    TABLE,
    Rig,
    fetched_from,
    records,
)

# --- reading --------------------------------------------------------------------------------------


async def test_a_fetch_of_a_partition_is_one_message(rig: Rig) -> None:
    rig.thread.fetches = [
        {EVENTS: fetched_from(5, EVENTS, 5, 6, 9), OTHER_EVENTS: fetched_from(2, OTHER_EVENTS, 2)}
    ]
    messages = await rig.poll()
    assert [(tp, message.offset) for tp, message in messages] == [(EVENTS, 9), (OTHER_EVENTS, 2)]
    batch = cast(RecordBatch, messages[0][1].value)
    assert [one.offset for one in batch.records] == [5, 6, 9]
    assert (batch.partition, batch.position, batch.generation) == (0, 5, 1)


async def test_a_batch_says_where_its_fetch_began_whatever_holes_the_offsets_have(rig: Rig) -> None:
    [batch] = await rig.fetch(position=2, offsets=[5, 6])
    assert (batch.position, batch.end) == (2, 7)


async def test_other_topics_come_record_by_record(rig: Rig) -> None:
    rig.thread.fetches = [{CHANGELOG: fetched_from(1, CHANGELOG, 1, 2, 3)}]
    assert [message.offset for _, message in await rig.poll()] == [1, 2, 3]


async def test_a_changelog_comes_in_batches_from_where_recovery_seeks_to(rig: Rig) -> None:
    await rig.consumer.seek_wait({TABLE: 4})
    await rig.consumer.perform_seek()  # of the batch topics: the changelog goes on where it was
    [batch] = await rig.fetch(tp=TABLE, position=4, offsets=[7, 9])
    assert (batch.position, batch.end) == (4, 10)
    [batch] = await rig.fetch(tp=TABLE, position=10, offsets=[10])
    assert batch.position == 10


async def test_a_changelog_fetched_before_a_seek_is_read_again(rig: Rig) -> None:
    async def seek() -> None:
        await rig.consumer.seek_wait({TABLE: 0})

    await rig.consumer.seek_wait({TABLE: 50})
    rig.thread.during_fetch = seek
    rig.thread.fetches = [
        {TABLE: fetched_from(50, TABLE, 50, 51), EVENTS: fetched_from(3, EVENTS, 3)}
    ]
    assert [tp for tp, _ in await rig.poll()] == [EVENTS]
    assert rig.thread.seeks[-1] == (TABLE, 0)


async def test_records_of_a_changelog_that_nobody_has_seen_are_read_again(rig: Rig) -> None:
    """
    Faust      asks for a fetch ─ a rebalance: waits no more ─ asks for the next one
    thread     . . . . . . . . . . . . . . fetches 4-8 . . . . . fetches 9
    """
    await rig.consumer.seek_wait({TABLE: 4})
    assert await rig.fetch(tp=TABLE, offsets=[9]) == []
    assert rig.thread.seeks[-1] == (TABLE, 4)
    [batch] = await rig.fetch(tp=TABLE, offsets=[4, 8, 9])
    assert (batch.position, batch.end) == (4, 10)


async def test_a_changelog_whose_beginning_is_gone_is_read_from_its_oldest_record(rig: Rig) -> None:
    rig.thread.oldest[TABLE] = 9
    await rig.consumer.seek_wait({TABLE: 4})
    assert await rig.fetch(tp=TABLE, offsets=[9]) == []  # the broker went on from there
    assert rig.thread.seeks[-1] == (TABLE, 9)
    assert len(await rig.fetch(tp=TABLE, offsets=[9])) == 1


@pytest.mark.parametrize("tp", [TABLE, EVENTS])
async def test_what_was_fetched_for_somebody_who_waits_no_more_is_delivered_all_the_same(
    rig: Rig, tp: TP
) -> None:
    """At the end of a partition nothing comes after it that would show that it is missing."""
    arrived = asyncio.Event()
    rig.thread.during_fetch = arrived.wait
    await rig.consumer.seek_wait({TABLE: 4})
    rig.thread.fetches = [{tp: fetched_from(4, tp, 4, 5)}, {OTHER_EVENTS: []}]
    waiting = asyncio.ensure_future(rig.poll())
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    arrived.set()
    await asyncio.sleep(0.01)
    [(found, message)] = await rig.poll()
    assert (found, message.offset) == (tp, 5)
    assert await rig.poll() == []


async def test_a_fetch_that_failed_for_somebody_who_waits_no_more_is_forgotten(rig: Rig) -> None:
    arrived = asyncio.Event()

    async def fail() -> None:
        await arrived.wait()
        raise KafkaConnectionError

    rig.thread.during_fetch = fail
    waiting = asyncio.ensure_future(rig.poll())
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    arrived.set()
    await asyncio.sleep(0.01)
    rig.thread.during_fetch = None
    assert await rig.poll() == []


async def test_while_no_broker_answers_a_changelog_waits_for_going_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: TP) -> Mapping[TP, int]:
        raise KafkaConnectionError

    await rig.consumer.seek_wait({TABLE: 4})
    with monkeypatch.context() as broken:
        broken.setattr(rig.thread, "earliest_offsets", away)
        assert await rig.fetch(tp=TABLE, offsets=[9]) == []
    assert await rig.fetch(tp=TABLE, offsets=[11]) == []
    assert rig.thread.seeks == [(TABLE, 4), (TABLE, 4)]


async def test_faust_counts_a_hole_at_the_end_of_a_fetch_as_read(rig: Rig) -> None:
    rig.thread.fetches = [{TABLE: [Fetched(4, records(TABLE, 4), 8)]}]  # type: ignore[arg-type]
    [(_, message)] = await rig.poll()
    assert message.offset == 7


async def test_what_was_fetched_and_not_delivered_of_a_changelog_is_read_again(rig: Rig) -> None:
    await rig.consumer.seek_wait({TABLE: 4})
    rig.thread.fetches = [{EVENTS: fetched_from(3, EVENTS, 3), TABLE: fetched_from(4, TABLE, 4)}]
    async for _ in rig.consumer.getmany(1.0):
        rig.app.consumer_generation_id = 2  # the rest is dropped
    assert await rig.fetch(tp=TABLE, offsets=[5]) == []
    assert rig.thread.seeks[-1] == (TABLE, 4)


async def test_a_changelog_that_is_no_longer_assigned_is_not_read_again(rig: Rig) -> None:
    await rig.consumer.seek_wait({TABLE: 4})
    rig.thread.assigned.discard(TABLE)
    assert await rig.fetch(tp=TABLE, offsets=[9]) == []
    assert rig.thread.seeks == [(TABLE, 4)]


async def test_a_seek_while_a_message_is_taken_decides_where_a_changelog_goes_on(rig: Rig) -> None:
    await rig.consumer.seek_wait({TABLE: 4})
    rig.thread.fetches = [{TABLE: fetched_from(4, TABLE, 4, 5)}]
    async for _ in rig.consumer.getmany(1.0):
        await rig.consumer.seek_wait({TABLE: 0})
    assert await rig.fetch(tp=TABLE, offsets=[6]) == []
    assert rig.thread.seeks[-1] == (TABLE, 0)


async def test_nothing_is_committed_while_the_group_is_joined_anew(rig: Rig) -> None:
    rig.consumer.mark_durable(EVENTS, 7)
    rig.app.consumer_generation_id = 1
    rig.consumer._joining = True
    assert not await rig.consumer._commit({EVENTS: 8})
    assert (rig.thread.commits, rig.state.commits) == ([], [])
    rig.consumer._joining = False
    assert await rig.consumer._commit({EVENTS: 8})


@pytest.mark.parametrize("tp", [TABLE, EVENTS])
async def test_a_fetch_of_control_records_alone_is_a_batch_without_records(
    rig: Rig, tp: TP
) -> None:
    """Whoever takes it in knows then that nothing is missing before the next one."""
    await rig.consumer.seek_wait({TABLE: 4})
    rig.thread.fetches = [{tp: [Fetched(4, [], 5)]}]
    [(_, message)] = await rig.poll()
    batch = cast(RecordBatch, message.value)
    assert (batch.position, batch.records, batch.end) == (4, [], 5)
    assert len(await rig.fetch(tp=tp, offsets=[5])) == 1


async def test_an_empty_fetch_is_no_message(rig: Rig) -> None:
    rig.thread.fetches = [{EVENTS: []}, {}]
    assert await rig.poll() == []
    assert await rig.poll() == []


async def test_partitions_that_are_not_active_are_left_out(rig: Rig) -> None:
    rig.consumer._active_partitions = {OTHER_EVENTS}
    rig.thread.fetches = [
        {EVENTS: fetched_from(0, EVENTS, 0), OTHER_EVENTS: fetched_from(0, OTHER_EVENTS, 0)}
    ]
    assert [tp for tp, _ in await rig.poll()] == [OTHER_EVENTS]


async def test_nothing_more_is_delivered_once_the_flow_is_suspended(rig: Rig) -> None:
    rig.thread.fetches = [
        {EVENTS: fetched_from(0, EVENTS, 0), OTHER_EVENTS: fetched_from(0, OTHER_EVENTS, 0)}
    ]
    seen = []
    async for tp, _ in rig.consumer.getmany(1.0):
        seen.append(tp)
        rig.consumer.stop_flow()
    assert seen == [EVENTS]


async def test_nothing_more_is_delivered_in_another_generation(rig: Rig) -> None:
    rig.thread.fetches = [{CHANGELOG: fetched_from(1, CHANGELOG, 1, 2, 3)}]
    seen = []
    async for _, message in rig.consumer.getmany(1.0):
        seen.append(message.offset)
        rig.app.consumer_generation_id = 2
    assert seen == [1]


async def test_records_fetched_while_the_flow_was_stopped_are_given_up_for_a_seek(
    rig: Rig,
) -> None:
    async def stop() -> None:
        rig.consumer.stop_flow()

    rig.state.positions = {EVENTS: 7}
    rig.thread.during_fetch = stop
    assert await rig.fetch(offsets=[0]) == []
    assert (EVENTS, 7) in rig.thread.seeks


async def test_partitions_that_are_gone_when_it_wants_to_seek_do_not_end_the_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.fetch(offsets=[8, 9])

    async def stop() -> None:
        rig.consumer.stop_flow()

    async def gone() -> None:
        raise IllegalStateError("No current assignment for partition")

    monkeypatch.setattr(rig.consumer, "seek_to_committed", gone)
    rig.thread.during_fetch = stop
    assert await rig.fetch(offsets=[10, 11]) == []


async def test_what_is_read_again_after_a_seek_is_not_dropped_by_faust(rig: Rig) -> None:
    """Faust's loop compares each message with the offset it noted last, for gaps and repeats."""
    rig.consumer._read_offset[EVENTS] = 160
    async for tp, _ in _one_fetch(rig):
        assert rig.consumer._read_offset[tp] is None


def _one_fetch(rig: Rig) -> Any:
    rig.thread.fetches = [{EVENTS: fetched_from(101, EVENTS, 101)}]
    return rig.consumer.getmany(1.0)


async def test_polls_that_come_too_soon_are_spaced(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(module, "POLL_SPACING_SECONDS", 1_000.0)
    monkeypatch.setattr("analytics.transport.batch.asyncio.sleep", sleep)
    await rig.poll()
    assert waits and 900 < waits[-1] <= 1_000 or rig.consumer._polled_at > 0
    waits.clear()
    await rig.poll()
    assert len(waits) == 1 and 900 < waits[0] <= 1_000


# --- where reading begins -------------------------------------------------------------------------


async def test_a_seek_goes_to_where_the_state_ends_or_to_the_oldest_record(rig: Rig) -> None:
    rig.state.positions = {EVENTS: 31}
    rig.thread.oldest = {EVENTS: 4, OTHER_EVENTS: 9}
    await rig.consumer.perform_seek()
    assert dict(rig.thread.seeks) == {EVENTS: 31, OTHER_EVENTS: 9}
    assert dict(rig.state.told) == {EVENTS: 31, OTHER_EVENTS: 9}


async def test_records_deleted_before_they_were_read_are_skipped_with_an_error(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.state.positions = {EVENTS: 31}
    rig.thread.oldest = {EVENTS: 70, OTHER_EVENTS: 0}
    await rig.consumer.perform_seek()
    assert dict(rig.thread.seeks)[EVENTS] == 70
    assert "deleted before they were read" in capsys.readouterr().out


async def test_reading_goes_back_to_where_it_should_be(rig: Rig) -> None:
    await rig.consumer.reread(EVENTS, 31)
    assert (rig.thread.seeks, rig.state.told) == ([(EVENTS, 31)], [])


async def test_reading_goes_back_no_further_than_to_what_is_still_there(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.thread.oldest[EVENTS] = 70
    await rig.consumer.reread(EVENTS, 31)
    assert (rig.thread.seeks, rig.state.told) == ([(EVENTS, 70)], [(EVENTS, 70)])
    assert "deleted before they were read" in capsys.readouterr().out


async def test_a_worker_without_partitions_has_nothing_to_seek(rig: Rig) -> None:
    rig.thread.assigned = {CHANGELOG}
    await rig.consumer.perform_seek()
    assert rig.thread.seeks == []


async def test_the_end_of_a_partition_is_known_once_it_was_fetched(rig: Rig) -> None:
    assert rig.consumer.end_offset(EVENTS) == 50
    assert rig.consumer.end_offset(OTHER_EVENTS) is None
    rig.thread.assigned = set()
    assert rig.consumer.end_offset(EVENTS) is None


# --- commits --------------------------------------------------------------------------------------


async def test_what_is_durable_is_committed_and_nothing_else(rig: Rig) -> None:
    assert await rig.consumer.commit() is False
    assert rig.thread.commits == []
    rig.consumer.mark_durable(EVENTS, 41)
    rig.consumer.mark_durable(EVENTS, 17)  # older: of no interest
    assert await rig.consumer.commit() is True
    assert rig.thread.commits == [{EVENTS: 42}]
    assert rig.state.commits == [(EVENTS, 42)]


async def test_an_offset_is_committed_once(rig: Rig) -> None:
    rig.consumer.mark_durable(EVENTS, 41)
    await rig.consumer.commit()
    await rig.consumer.commit()
    assert len(rig.thread.commits) == 1


async def test_a_refused_commit_is_no_commit_for_the_state(rig: Rig) -> None:
    rig.consumer.mark_durable(EVENTS, 41)
    rig.thread.accepts = False
    assert await rig.consumer.commit() is False
    assert rig.state.commits == []


async def test_a_member_is_proved_by_a_commit_that_nothing_else_hears_of(rig: Rig) -> None:
    assert await rig.consumer.proves({EVENTS: 4, OTHER_EVENTS: -1})
    assert rig.thread.commits == [{EVENTS: 5, OTHER_EVENTS: 0}]
    assert rig.state.commits == []
    rig.thread.accepts = False
    assert not await rig.consumer.proves({EVENTS: 4})


async def test_nobody_is_proved_a_member_of_what_is_not_assigned_or_joined_anew(rig: Rig) -> None:
    assert not await rig.consumer.proves({TP("events", 7): 1})
    rig.thread.during_commit = lambda: rig.thread.assigned.discard(EVENTS)
    assert not await rig.consumer.proves({EVENTS: 1})
    await rig.consumer.on_partitions_revoked({OTHER_EVENTS})
    before = len(rig.thread.commits)
    assert not await rig.consumer.proves({OTHER_EVENTS: 1})
    assert len(rig.thread.commits) == before


async def test_a_partition_that_was_revoked_under_a_commit_is_not_called_committed(
    rig: Rig,
) -> None:
    rig.consumer.mark_durable(EVENTS, 41)
    rig.thread.during_commit = lambda: rig.thread.assigned.remove(EVENTS)
    await rig.consumer.commit()
    assert rig.state.commits == []


async def test_a_commit_of_given_topics_leaves_others_out(rig: Rig) -> None:
    rig.consumer.mark_durable(EVENTS, 41)
    await rig.consumer.commit({"changelog"})
    assert rig.thread.commits == []
    await rig.consumer.commit({"events"})
    assert rig.thread.commits == [{EVENTS: 42}]


async def test_other_topics_are_committed_by_what_was_acknowledged(rig: Rig) -> None:
    rig.consumer._acked[CHANGELOG] = [0, 1, 2]
    await rig.consumer.commit()
    assert rig.thread.commits == [{CHANGELOG: 3}]
    assert rig.state.commits == []


async def test_a_batch_is_no_gap_for_the_stock_ledger(rig: Rig) -> None:
    await rig.consumer._add_gap(EVENTS, 1, 100)
    await rig.consumer._add_gap(CHANGELOG, 1, 100)
    assert not rig.consumer._gap[EVENTS]
    assert rig.consumer._gap[CHANGELOG]


# --- revocation -----------------------------------------------------------------------------------


@pytest.fixture
def handed_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened on a revocation, in order."""
    happened: list[str] = []

    async def stock(revoked: set[TP]) -> None:
        happened.append("revoked")

    rig.state.on_revoke = lambda: happened.append("flushed")
    rig.thread.during_commit = lambda: happened.append("committed")
    rig.consumer._on_partitions_revoked = cast(Any, stock)
    return happened


async def test_on_revocation_it_flushes_and_commits_before_it_lets_go(
    rig: Rig, handed_on: list[str]
) -> None:
    rig.consumer.mark_durable(EVENTS, 41)
    await rig.consumer.on_partitions_revoked({EVENTS, CHANGELOG})
    assert handed_on == ["flushed", "committed", "revoked"]
    assert not rig.consumer.flow_active
    assert rig.consumer._new_offset(EVENTS) is None  # whoever has it now commits it


async def test_a_flush_that_fails_on_revocation_ends_the_worker_and_still_lets_go(
    rig: Rig, handed_on: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka would log what its listener raises, and Faust never hear of the revocation."""
    crashes: list[BaseException] = []

    async def crash(reason: BaseException) -> None:
        crashes.append(reason)

    def fail() -> None:
        raise TransportError("Kafka is gone", recoverable=True)

    monkeypatch.setattr(rig.consumer, "crash", crash)
    rig.state.on_revoke = fail
    rig.consumer.mark_durable(EVENTS, 41)
    await rig.consumer.on_partitions_revoked({EVENTS})
    assert [str(one) for one in crashes] == ["Kafka is gone"]
    assert handed_on == ["revoked"]


async def test_a_full_queue_and_silence_are_no_reason_to_pause_or_complain(rig: Rig) -> None:
    rig.consumer.on_buffer_full(EVENTS)
    assert EVENTS in (rig.consumer._active_partitions or ())
    rig.consumer.verify_event_path(0.0, EVENTS)


async def test_the_consumer_of_an_app_is_ours(rig: Rig) -> None:
    assert consumer_of(rig.app) is rig.consumer
