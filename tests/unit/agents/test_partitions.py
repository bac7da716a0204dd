"""Partitions of a worker: which batches are taken in, who owns what, and what is durable."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from analytics.errors import TransportError
from analytics.process.pulse import StoodStill
from analytics.testing import Call, failing_once
from analytics.transport.records import RecordBatch
from tables.partition import TablePartition
from tables.segments import Recovered
from tests.unit.agents.workers import TOPICS, Kafka, Worker
from tests.unit.phases import event

StartWorker = Callable[..., Worker]
EVENTS = TP(TOPICS.events, 0)


@pytest.fixture
async def worker(start: StartWorker, kafka: Kafka) -> Worker:
    """Owns both partitions; partition 0 has twenty events."""
    made = start()
    await made.take_over(0, 1)
    kafka.put(0, *[event(0)] * 20)
    return made


async def take(worker: Worker, first: int, n: int) -> None:
    await worker.aggregate.take(worker.batch(TOPICS.events, 0, first, n))


def applied(worker: Worker) -> int:
    return cast(int, worker.held().work.applied)


async def test_batches_that_follow_on_one_another_are_taken_in(worker: Worker) -> None:
    await take(worker, 0, 5)
    await take(worker, 5, 5)
    assert applied(worker) == 9
    assert worker.app.consumer.rereads == []


async def test_a_batch_after_a_hole_is_dropped_and_reading_goes_back(worker: Worker) -> None:
    """
    taken in    0 ─ 4
    batch                 8 ─ 11
    reads again     5 ─
    """
    await take(worker, 0, 5)
    await take(worker, 8, 4)
    assert applied(worker) == 4
    assert worker.app.consumer.rereads == [(EVENTS, 5)]
    await take(worker, 5, 15)
    assert applied(worker) == 19


async def test_what_was_taken_in_already_is_dropped_without_a_seek(worker: Worker) -> None:
    """A seek for it would make the batches queued behind it come twice, and so on for ever."""
    await take(worker, 0, 10)
    await take(worker, 2, 5)
    await take(worker, 0, 10)
    assert applied(worker) == 9
    assert worker.app.consumer.rereads == []
    await take(worker, 10, 2)
    assert applied(worker) == 11


async def test_of_a_batch_that_overlaps_only_the_new_records_are_taken_in(
    worker: Worker, kafka: Kafka
) -> None:
    await take(worker, 0, 10)
    await take(worker, 5, 10)
    assert applied(worker) == 14
    await worker.flush()
    await worker.deliver()
    assert worker.merged() == {0: {"a": 15}}


async def test_records_that_are_missing_in_the_log_are_no_hole(worker: Worker) -> None:
    """Offsets 5 to 7 are control records: the consumer stood at 5 and the next record is 8."""
    await take(worker, 0, 5)
    late = worker.batch(TOPICS.events, 0, 8, 4)
    await worker.aggregate.take(RecordBatch(0, 5, late.records, late.generation))
    assert applied(worker) == 11


async def test_a_batch_of_a_former_generation_or_of_a_foreign_partition_is_dropped(
    worker: Worker,
) -> None:
    old = worker.batch(TOPICS.events, 0, 0, 5)
    worker.app.consumer_generation_id = 2
    await worker.aggregate.take(old)
    await worker.aggregate.take(RecordBatch(7, 0, old.records, 2))
    assert applied(worker) == -1
    assert worker.app.consumer.rereads == []


async def test_nothing_is_taken_in_after_a_takeover_until_the_seek_says_where_reading_begins(
    worker: Worker,
) -> None:
    """What comes before was fetched for the owner before: records in between would be lost."""
    worker.held().next_offset = None
    await take(worker, 3, 2)
    assert applied(worker) == -1
    worker.aggregate.partitions.reading_from(0, 0)
    await take(worker, 0, 5)
    assert applied(worker) == 4


async def test_reading_begins_where_the_state_ends(worker: Worker) -> None:
    assert worker.aggregate.partitions.position(0) is None
    await take(worker, 0, 5)
    assert worker.aggregate.partitions.position(0) == 5
    assert worker.aggregate.partitions.position(9) is None
    worker.aggregate.partitions.reading_from(0, 3)
    worker.aggregate.partitions.reading_from(9, 3)  # not ours: nothing to note
    await take(worker, 3, 6)
    assert applied(worker) == 8


async def test_a_partition_that_stays_is_kept_as_it_is(worker: Worker) -> None:
    await take(worker, 0, 5)
    await worker.flush()
    held = worker.held()
    await worker.take_over(0, generation=2)
    assert worker.held() is held


async def test_a_partition_that_somebody_else_had_meanwhile_is_taken_over_anew(
    worker: Worker, start: StartWorker
) -> None:
    await take(worker, 0, 5)
    await worker.flush()
    other = start("another disk")
    await other.take_over(0, generation=2)
    await other.read()
    await other.flush()
    held = worker.held()
    await worker.take_over(0, generation=3)
    assert worker.held() is not held
    assert applied(worker) == 19


async def test_a_worker_that_the_group_has_replaced_claims_nothing(
    start: StartWorker, kafka: Kafka
) -> None:
    """It would outbid its successor, of whose claim it has read."""
    successor = start("another disk")
    await successor.take_over(0, generation=2)
    written = dict(kafka.producer.records)
    stale = start()
    stale.app.consumer.member = False
    await stale.take_over(0, generation=1)
    assert stale.aggregate.partitions.held == {}
    assert kafka.producer.records == written


async def test_the_group_is_asked_once_for_all_partitions_and_after_they_were_read(
    start: StartWorker, kafka: Kafka
) -> None:
    first = start("another disk")
    await first.take_over(0, 1)
    kafka.put(0, event(0))
    await first.read()
    await first.flush()
    worker = start()
    await worker.take_over(0, 1, generation=2)
    events = [proof for proof in worker.app.consumer.proofs if EVENTS in proof]
    assert events == [{EVENTS: 0, TP(TOPICS.events, 1): -1}]


async def test_a_partition_is_claimed_as_of_the_generation_it_was_given_in(
    start: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is given it in the next one may read the same changelog."""
    worker = start()
    recover = TablePartition.recover

    def recover_late(partition: TablePartition, generation: int) -> Recovered:
        worker.app.consumer_generation_id = 7
        return recover(partition, generation)

    monkeypatch.setattr(TablePartition, "recover", recover_late)
    await worker.aggregate.partitions.take_over([0])
    assert worker.aggregate.partitions.held == {}
    assert not worker.kafka.producer.records


async def test_a_partition_is_taken_over_anew_where_a_generation_was_missed(worker: Worker) -> None:
    """Whoever had it then has read the changelog, and may claim it any time now."""
    held = worker.held()
    await worker.take_over(0, generation=2)
    assert worker.held() is held
    await worker.take_over(0, generation=4)
    assert worker.held() is not held


async def test_a_takeover_that_ends_in_another_generation_owns_nothing(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = start()

    async def rebalance(_: Call) -> None:
        worker.app.consumer_generation_id += 1

    kafka.producer.after = rebalance
    await worker.aggregate.partitions.take_over([0])
    assert worker.aggregate.partitions.held == {}


async def test_a_released_partition_is_forgotten_and_its_flushes_do_nothing(
    worker: Worker, kafka: Kafka
) -> None:
    await take(worker, 0, 5)
    held = worker.held()
    worker.aggregate.partitions.release([0, 7])
    assert list(worker.aggregate.partitions.held) == [1]
    written = {at: len(records) for at, records in kafka.producer.records.items()}
    await worker.aggregate.partitions.flush(held)
    assert {at: len(records) for at, records in kafka.producer.records.items()} == written
    worker.aggregate.partitions.committed(0, 5)
    assert 'owned_partitions{stage="aggregate"} 1.0' in worker.metrics.exposition().decode()


async def test_what_is_flushed_while_the_partition_is_revoked_is_not_committed_by_us(
    worker: Worker, kafka: Kafka
) -> None:
    await take(worker, 0, 5)

    async def revoke(_: Call) -> None:
        worker.aggregate.partitions.release([0])

    kafka.producer.after = revoke
    await worker.aggregate.partitions.flush(worker.held())
    assert worker.app.consumer.durable == {}


async def test_flushes_of_one_partition_wait_for_one_another(worker: Worker, kafka: Kafka) -> None:
    under_way = most = 0

    async def enter(call: Call) -> None:
        nonlocal under_way, most
        under_way += call.method == "append"
        most = max(most, under_way)
        await asyncio.sleep(0)

    async def leave(call: Call) -> None:
        nonlocal under_way
        under_way -= call.method == "append"

    kafka.producer.before, kafka.producer.after = enter, leave
    for first in (0, 5, 10):
        await take(worker, first, 5)
        await asyncio.gather(*(worker.aggregate.partitions.flush_all() for _ in range(3)))
    assert most == 1


async def test_one_partition_that_fails_does_not_keep_another_from_its_flush(
    worker: Worker, kafka: Kafka
) -> None:
    kafka.put(1, event(0))
    await worker.read(0)
    await worker.read(1)
    failing = failing_once("append", TOPICS.changelog("panes"))
    kafka.producer.before = failing
    with pytest.raises(TransportError):
        await worker.aggregate.partitions.flush_all()
    for _ in range(100):  # the other one goes on
        await asyncio.sleep(0.01)
        if worker.app.consumer.durable:
            break
    assert len(worker.app.consumer.durable) == 1


async def test_a_worker_that_stood_still_flushes_nothing(
    worker: Worker, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    await take(worker, 0, 5)

    def check() -> None:
        raise StoodStill("for 70 s")

    monkeypatch.setattr(worker.context.pulse, "check", check)
    with pytest.raises(StoodStill):
        await worker.flush()
    monkeypatch.undo()
    await worker.flush()  # it took nothing, so nothing is lost
    assert worker.app.consumer.durable == {EVENTS: 4}


class Stream:
    """The part of a Faust stream that an agent uses."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self._batches = batches

    def noack(self) -> "Stream":
        return self

    async def events(self) -> AsyncIterator[SimpleNamespace]:
        for batch in self._batches:
            yield SimpleNamespace(value=batch)


async def test_an_agent_takes_every_batch_in(worker: Worker) -> None:
    batches = [worker.batch(TOPICS.events, 0, first, 5) for first in (0, 5)]
    await worker.aggregate.partitions.consume(cast(Any, Stream(batches)))
    assert applied(worker) == 9
    assert worker.app.crashes == []


async def test_a_batch_that_cannot_be_taken_in_ends_the_worker_and_nothing_after_it_is_taken(
    worker: Worker,
) -> None:
    batches = [object(), worker.batch(TOPICS.events, 0, 0, 5)]
    await worker.aggregate.partitions.consume(cast(Any, Stream(batches)))
    assert [type(error) for error in worker.app.crashes] == [AttributeError]
    assert applied(worker) == -1
