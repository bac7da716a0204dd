"""Agent `aggregate`: the order of a flush, and what a failure at any of its steps leaves behind."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from faust.types import TP

from agents import aggregate
from agents.aggregate import HEARTBEAT_SECONDS
from analytics import clock
from analytics.core.dedup import IDS
from analytics.core.delivery import Stamp
from analytics.errors import TransportError
from analytics.testing import Call, failing_once
from tests.unit.agents.workers import TOPICS, Kafka, Worker
from tests.unit.phases import VISITS, S, catalog, event

StartWorker = Callable[..., Worker]
EVENTS = TP(TOPICS.events, 0)
CHANGELOG = TOPICS.changelog("panes")


async def owner(start: StartWorker, disk: str = "disk", generation: int = 1) -> Worker:
    worker = start(disk)
    await worker.take_over(0, 1, generation=generation)
    return worker


async def test_a_takeover_writes_a_marker_and_then_speaks_for_the_partition(
    start: StartWorker, kafka: Kafka
) -> None:
    calls: list[Call] = []

    async def note(call: Call) -> None:
        calls.append(call)

    kafka.producer.before = note
    worker = await owner(start)
    assert calls.index(Call("append", CHANGELOG)) < calls.index(Call("send", TOPICS.partials))
    assert sorted(worker.aggregate.partitions.held) == [0, 1]
    assert {one.source for one in kafka.deliveries()} == {0, 1}  # nobody waits for them
    assert worker.app.consumer.durable == {}


async def test_a_flush_goes_letters_changelog_store_partials_and_only_then_is_durable(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    kafka.put(0, event(0), b"not json")
    await worker.read()
    seen: list[tuple[str, int | None, int | None]] = []
    store = worker.tables["panes"].store

    async def note(call: Call) -> None:
        seen.append((call.topic, store.offset(0), worker.app.consumer.durable.get(EVENTS)))

    kafka.producer.before = note
    before = store.offset(0)
    await worker.aggregate.partitions.flush(worker.held())
    assert seen == [
        (TOPICS.dead_letters, before, None),
        (CHANGELOG, before, None),
        (TOPICS.partials, store.offset(0), None),
    ]
    assert store.offset(0) != before
    assert worker.app.consumer.durable == {EVENTS: 1}


async def test_rows_are_published_with_the_owners_epoch_and_the_offset_they_are_true_for(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    kafka.put(0, event(0), event(3 * S, "b"))
    await worker.read()
    await worker.flush()
    [rows] = [one for one in kafka.deliveries() if one.partials]
    assert rows.stamp == Stamp(worker.held().state.owner.epoch, 1)
    assert rows.watermark_ms == 2 * S
    assert [part.keys for part in rows.partials] == [[("a",), ("b",)]]


async def test_nothing_new_is_neither_flushed_nor_published(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    kafka.put(0, event(0))
    await worker.read()
    await worker.flush()
    before = {at: len(records) for at, records in kafka.producer.records.items()}
    await worker.flush()
    assert {at: len(records) for at, records in kafka.producer.records.items()} == before


async def test_a_silent_partition_is_heard_of_at_a_steady_interval(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    n = len(kafka.deliveries())
    worker.held().work.told_at = clock.monotonic() - HEARTBEAT_SECONDS
    await worker.flush()
    assert len(kafka.deliveries()) == n + 1
    assert kafka.deliveries()[-1].partials == []


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize(
    ("end", "read_to_end"), [(None, False), (2, False), (1, True)], ids=["unknown", "behind", "at"]
)
async def test_a_partition_is_idle_when_it_was_silent_and_is_read_to_its_known_end(
    start: StartWorker, kafka: Kafka, silent: bool, end: int | None, read_to_end: bool
) -> None:
    worker = await owner(start)
    kafka.put(0, event(0))
    await worker.read()
    if silent:
        worker.held().work.read_at -= 3_600
    if end is not None:
        worker.app.consumer.ends[EVENTS] = end
    await worker.flush()
    idle = [one.idle for one in kafka.deliveries() if one.source == 0][-1]
    assert idle is (silent and read_to_end)


async def test_a_batch_ends_the_silence_of_a_partition(start: StartWorker, kafka: Kafka) -> None:
    worker = await owner(start)
    worker.held().work.read_at -= 3_600
    kafka.put(0, event(0))
    await worker.read()
    worker.app.consumer.ends[EVENTS] = 1
    await worker.flush()
    assert [one.idle for one in kafka.deliveries() if one.source == 0][-1] is False


async def test_refused_lines_become_letters_before_their_offset_is_durable(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    kafka.put(0, b"\n".join([event(0), b"{", event(0)]), None, b"[1]")
    await worker.read()
    await worker.flush()
    assert kafka.letters() == [b"{", b"[1]"]
    assert worker.app.consumer.durable[EVENTS] == 2
    await worker.deliver()
    assert worker.merged() == {0: {"a": 2}}


async def test_events_are_folded_while_a_flush_waits_and_belong_to_the_next_one(
    start: StartWorker, kafka: Kafka
) -> None:
    """
    fold 0..2 ─ flush begins ┬ letters wait ┬ ─ append: rows as of 2
                             └ fold 3..6 ───┘
    The pane is crowded by then, so its rows are written whole: those of 2, not those of 6.
    """
    worker = await owner(start)
    for _ in range(2):
        kafka.put(0, event(0))
        await worker.read()
        await worker.flush()
    kafka.put(0, event(0) + b"\nnot json", *[event(0)] * 4)

    async def fold_more(call: Call) -> None:
        if call.topic == TOPICS.dead_letters:
            await worker.read()

    await worker.read(n=1)
    kafka.producer.before = fold_more
    await worker.aggregate.partitions.flush(worker.held())
    successor = await owner(start, "another disk", 2)
    assert successor.held().work.applied == 2
    await successor.read()
    await successor.flush()
    await successor.deliver()
    assert successor.merged() == {0: {"a": 7}}


FAILURES = [
    (when, method, topic)
    for when in ("before", "after")
    for method, topic in (
        ("send", TOPICS.dead_letters),
        ("append", CHANGELOG),
        ("send", TOPICS.partials),
    )
]


@pytest.mark.parametrize(("when", "method", "topic"), FAILURES)
@pytest.mark.parametrize("disk", ["disk", "another disk"])
async def test_after_a_failure_at_any_step_the_next_owner_has_everything_exactly_once(
    start: StartWorker, kafka: Kafka, when: str, method: str, topic: str, disk: str
) -> None:
    worker = await owner(start)
    kafka.put(0, event(0), event(0, "b"))
    await worker.read()
    await worker.flush()
    kafka.put(0, event(0), b"not json", event(40 * S))
    await worker.read()
    setattr(kafka.producer, when, failing_once(method, topic))
    with pytest.raises(TransportError):
        await worker.aggregate.partitions.flush(worker.held())
    assert worker.app.consumer.durable[EVENTS] == 1
    successor = await owner(start, disk, 2)
    await successor.read()
    await successor.flush()
    await successor.deliver()
    assert successor.merged() == {0: {"a": 2, "b": 1}, 40 * S: {"a": 1}}
    assert successor.app.consumer.durable[EVENTS] == 4
    assert set(kafka.letters()) == {b"not json"}  # perhaps twice, never not at all


@pytest.mark.parametrize(("when", "method", "topic"), FAILURES)
async def test_after_a_failure_at_any_step_the_next_owner_drops_the_same_duplicates(
    remembering: StartWorker, kafka: Kafka, when: str, method: str, topic: str
) -> None:
    worker = await owner(remembering)
    kafka.put(0, event(0, event_id="1"), event(0, event_id="2"))
    await worker.read()
    await worker.flush()
    kafka.put(0, event(0, event_id="2"), event(0, "b", event_id="3"), b"not json")
    await worker.read()
    setattr(kafka.producer, when, failing_once(method, topic))
    with pytest.raises(TransportError):
        await worker.flush()
    kafka.put(0, event(0, event_id="1"), event(0, "b", event_id="3"), event(0, event_id="4"))
    successor = await owner(remembering, "another disk", 2)
    await successor.read()
    await successor.flush()
    await successor.deliver()
    assert successor.merged() == {0: {"a": 3, "b": 1}}
    assert successor.held().work.source.duplicates == 3


async def test_ids_are_neither_published_nor_counted_as_rows_and_leave_when_it_is_switched_off(
    remembering: StartWorker, start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(remembering)
    kafka.put(0, event(0, event_id="1"), event(0, event_id="1"), event(0, event_id="2"))
    await worker.read()
    await worker.flush()
    assert id_segments(worker) == 1
    text = worker.metrics.exposition().decode()
    assert "analytics_events_total 2.0" in text
    assert "analytics_duplicate_events_total 1.0" in text
    assert 'analytics_flushed_rows_total{stage="aggregate"} 1.0' in text
    off = await owner(start, "another disk", 2)  # publishes every open pane anew
    published = {part.metric for one in kafka.deliveries() for part in one.partials}
    assert published == {VISITS.key}
    await off.flush()  # although nothing was read
    off.aggregate.partitions.committed(0, 4)
    kafka.put(0, event(0, event_id="1"))
    await off.read()
    await off.flush()
    assert id_segments(off) == 0
    await off.deliver()
    assert off.merged() == {0: {"a": 3}}


def id_segments(worker: Worker) -> int:
    entries = worker.tables["panes"].store.entries(0, b"s")
    return sum(msgspec.msgpack.decode(value)[1][0] == IDS for _, value in entries)


@pytest.mark.parametrize(("when", "method", "topic"), FAILURES)
async def test_after_a_failed_flush_no_later_one_may_hide_what_is_missing(
    start: StartWorker, kafka: Kafka, when: str, method: str, topic: str
) -> None:
    """What the failed flush took out of the source is nowhere: a marker beyond it would lie."""
    worker = await owner(start)
    kafka.put(0, event(0), b"not json")
    await worker.read()
    setattr(kafka.producer, when, failing_once(method, topic))
    with pytest.raises(TransportError):
        await worker.flush()
    kafka.put(0, event(0, "b"))
    await worker.read()
    written = len(kafka.records(CHANGELOG, 0))
    with pytest.raises(TransportError, match="start the worker again"):
        await worker.flush()
    assert len(kafka.records(CHANGELOG, 0)) == written


async def test_a_flush_that_is_cancelled_counts_as_failed(start: StartWorker, kafka: Kafka) -> None:
    worker = await owner(start)
    kafka.put(0, event(0))
    await worker.read()

    async def never(_: Call) -> None:
        await asyncio.Event().wait()

    kafka.producer.before = never
    flush = asyncio.create_task(worker.aggregate.partitions.flush(worker.held()))
    await asyncio.sleep(0)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    with pytest.raises(TransportError, match="start the worker again"):
        await worker.flush()


async def test_a_partition_whose_flush_failed_is_taken_over_anew_in_the_same_worker(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    kafka.put(0, event(0))
    await worker.read()
    kafka.producer.before = failing_once("append", CHANGELOG)
    with pytest.raises(TransportError):
        await worker.flush()
    await worker.take_over(0, 1, generation=2)
    await worker.read()
    await worker.flush()
    await worker.deliver()
    assert worker.merged() == {0: {"a": 1}}


async def test_a_large_batch_is_folded_in_chunks_that_let_others_run(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    kafka.put(0, *[event(0)] * 50)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    with patch.object(aggregate, "CHUNK_BYTES", 100):
        await worker.read()
    counting.cancel()
    assert turns > 10
    await worker.flush()
    await worker.deliver()
    assert worker.merged() == {0: {"a": 50}}


async def test_a_revoked_partition_stops_in_the_middle_of_a_batch(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    kafka.put(0, *[event(0)] * 50)
    held = worker.held()
    with patch.object(aggregate, "CHUNK_BYTES", 100):
        reading = asyncio.create_task(worker.read())
        await asyncio.sleep(0)
        worker.aggregate.partitions.release([0])
        await reading
    assert -1 <= held.work.applied < 49


async def test_folding_waits_for_a_flush_once_too_much_is_not_durable(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    kafka.put(0, event(0))
    with patch.object(aggregate, "UNFLUSHED_BYTES_MAX", 10):
        await worker.read()
    assert worker.app.consumer.durable == {EVENTS: 0}


async def test_metrics_count_events_bytes_and_refusals(start: StartWorker, kafka: Kafka) -> None:
    worker = await owner(start)
    kafka.put(0, event(0), b"not json")
    await worker.read()
    await worker.flush()
    text = worker.metrics.exposition().decode()
    assert "analytics_events_total 1.0" in text
    assert f"analytics_event_bytes_total {len(event(0)) + 8}.0" in text
    assert 'analytics_rejected_lines_total{reason="invalid_json"} 1.0' in text
    assert 'analytics_applied_offset{partition="0",stage="aggregate"} 1.0' in text


@pytest.mark.xfail(
    strict=True,
    reason="nobody closes the panes of a metric that is no longer defined, so their segments stay",
)
async def test_rows_of_a_metric_that_is_no_longer_defined_leave_the_changelog(
    kafka: Kafka, tmp_path: Path
) -> None:
    before = Worker(kafka, tmp_path / "before")
    await before.take_over(0)
    kafka.put(0, event(0))
    await before.read()
    await before.flush()
    before.close()
    after = Worker(kafka, tmp_path / "after", catalog("other"))
    await after.take_over(0, generation=2)
    for n in (2, 3, 4):
        kafka.put(0, event(100 * n * S))
        await after.read()
        await after.flush()
        after.aggregate.partitions.committed(0, n)
    store = after.tables["panes"].store
    kept = [msgspec.msgpack.decode(value)[1][0] for _, value in store.entries(0, b"s")]
    after.close()
    assert VISITS.key not in kept
