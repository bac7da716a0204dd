"""Agent `merge`: deliveries become live metrics at once, and durable with the next flush."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from faust.types import TP

from agents.merge import QUIET_SECONDS
from analytics import clock
from analytics.core.delivery import Delivery, encode_delivery
from analytics.errors import TransportError
from analytics.testing import failing_once
from analytics.topics import owner_partition
from analytics.transport.producer import Outgoing
from tests.unit.agents.workers import SETTINGS, TOPICS, Kafka, Worker
from tests.unit.phases import VISITS, S, catalog, delivery, event, partials

StartWorker = Callable[..., Worker]
OWNER = owner_partition(VISITS.name, SETTINGS.partitions)
PARTIALS = TP(TOPICS.partials, OWNER)


async def put(kafka: Kafka, *deliveries: Delivery | bytes) -> None:
    values = [one if isinstance(one, bytes) else encode_delivery(one) for one in deliveries]
    await kafka.producer.send([Outgoing(TOPICS.partials, one, partition=OWNER) for one in values])


async def owner(start: StartWorker, disk: str = "disk", generation: int = 1) -> Worker:
    """A worker that merges, of a fleet where nobody folds events."""
    worker = start(disk)
    await worker.take_over(OWNER, generation=generation)
    worker.aggregate.partitions.release([OWNER])
    return worker


async def test_a_metric_is_merged_by_the_owner_of_its_partition(start: StartWorker) -> None:
    worker = await owner(start)
    assert worker.merge.owner(VISITS) == OWNER
    assert worker.merge.owns(VISITS)
    worker.merge.partitions.release([OWNER])
    assert not worker.merge.owns(VISITS)
    assert worker.merge.live(VISITS) is None


async def test_a_delivery_is_visible_before_it_is_flushed(start: StartWorker, kafka: Kafka) -> None:
    worker = await owner(start)
    await put(kafka, delivery(partials(0, {"a": 2}), stamp=(2**40, 7)))
    await worker.deliver()
    assert worker.merged() == {0: {"a": 2}}
    assert worker.app.consumer.durable == {}
    await worker.flush()
    assert PARTIALS in worker.app.consumer.durable


async def test_flushed_rows_are_there_after_a_restart_and_the_rest_is_read_again(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    await put(kafka, delivery(partials(0, {"a": 2}), stamp=(2**40, 7)))
    await worker.deliver()
    await worker.flush()
    await put(kafka, delivery(partials(0, {"a": 3}), stamp=(2**40, 8)))
    await worker.deliver()
    for disk in ("disk", "another disk"):
        again = await owner(start, disk, 2)
        assert again.merged() == {0: {"a": 2}}
        await again.deliver()
        assert again.merged() == {0: {"a": 3}}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_a_failed_flush_the_next_owner_has_everything(
    start: StartWorker, kafka: Kafka, when: str
) -> None:
    worker = await owner(start)
    await put(kafka, delivery(partials(0, {"a": 2}), stamp=(2**40, 7)))
    await worker.deliver()
    setattr(kafka.producer, when, failing_once("append", TOPICS.changelog("merged")))
    with pytest.raises(TransportError):
        await worker.flush()
    again = await owner(start, "another disk", 2)
    await again.deliver()
    assert again.merged() == {0: {"a": 2}}


async def test_what_is_no_delivery_is_dropped_and_the_rest_goes_on(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    torn = msgspec.structs.replace(partials(0, {"a": 1}), columns={"count": b"123"})
    await put(
        kafka,
        b"",
        b"nonsense",
        delivery(torn, stamp=(2**40, 1)),
        delivery(partials(0, {"a": 1}), stamp=(2**40, 2)),
    )
    await worker.deliver()
    assert worker.merged() == {0: {"a": 1}}
    [held] = worker.merge.partitions.held.values()
    assert held.work.applied == len(kafka.records(TOPICS.partials, OWNER)) - 1


async def test_stale_deliveries_are_counted(start: StartWorker, kafka: Kafka) -> None:
    worker = await owner(start)
    rows = partials(0, {"a": 2})
    await put(kafka, delivery(rows, stamp=(2**40, 7)), delivery(rows, stamp=(2**40, 6)))
    await worker.deliver()
    assert "analytics_stale_deliveries_total 1.0" in worker.metrics.exposition().decode()


async def test_heartbeats_alone_are_flushed_now_and_then_only(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = await owner(start)
    await put(kafka, delivery(partials(0, {"a": 2}), stamp=(2**40, 7)))
    await worker.deliver()
    await worker.flush()
    written = len(kafka.records(TOPICS.changelog("merged"), OWNER))
    await put(kafka, delivery(stamp=(2**40, 8)))
    await worker.deliver()
    await worker.flush()
    assert len(kafka.records(TOPICS.changelog("merged"), OWNER)) == written
    [held] = worker.merge.partitions.held.values()
    held.flushed_at = clock.monotonic() - QUIET_SECONDS
    await worker.flush()
    assert len(kafka.records(TOPICS.changelog("merged"), OWNER)) == written + 1


async def test_panes_past_retention_leave_the_table_too(start: StartWorker, kafka: Kafka) -> None:
    worker = await owner(start)
    for at, (start_ms, watermark_ms) in enumerate([(0, 0), (80 * S, 75 * S), (90 * S, 90 * S)]):
        rows = delivery(partials(start_ms, {"a": 1}), stamp=(2**40, at), watermark_ms=watermark_ms)
        other = delivery(source=1, stamp=(2**40, at), watermark_ms=watermark_ms)
        await put(kafka, rows, other)
        await worker.deliver()
        await worker.flush()
        worker.merge.partitions.committed(OWNER, len(kafka.records(TOPICS.partials, OWNER)))
    assert worker.merged() == {80 * S: {"a": 1}, 90 * S: {"a": 1}}
    again = await owner(start, "another disk", 2)
    assert again.merged() == worker.merged()


async def test_a_partition_carries_the_metrics_that_are_its_own(
    kafka: Kafka, tmp_path: Path
) -> None:
    names = [f"metric_{number}" for number in range(10)]
    several = catalog("visits")
    metrics = tuple(catalog(name).metrics[0] for name in names)
    worker = Worker(kafka, tmp_path, type(several)(metrics))
    await worker.take_over(0, 1)
    held = worker.merge.partitions.held
    carried = {partition: held[partition].work.catalog.metrics for partition in (0, 1)}
    assert sorted(one.name for metrics in carried.values() for one in metrics) == names
    assert all(
        worker.merge.owner(one) == partition for partition in carried for one in carried[partition]
    )
    worker.close()


async def test_both_phases_of_one_worker_count_every_event_once(
    start: StartWorker, kafka: Kafka
) -> None:
    worker = start()
    await worker.take_over(0, 1)
    kafka.put(0, event(0), event(12 * S, "b"))
    kafka.put(1, event(0), event(0))
    for partition in (0, 1):
        await worker.read(partition)
    await worker.flush()
    await worker.deliver()
    assert worker.merged() == {0: {"a": 3}, 10 * S: {"b": 1}}
    live = worker.merge.live(VISITS)
    assert live is not None
    assert live.watermark_ms(SETTINGS.partitions) == -1 * S  # partition 1 is still at 0
