"""Agent `merge`, phase 2: keeps the newest rows of every source by metric, for queries to read.

A delivery is visible to queries as soon as it is taken in: phase 1 has made its rows durable
already. The flush only spares a restarted worker from reading all of `partials` again.
"""

import msgspec
import structlog

from agents.context import Context
from agents.partitions import Held, Partitions
from analytics import clock
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import Metric
from analytics.core.delivery import Delivery, decode_delivery
from analytics.core.live.metric import LiveMetric
from analytics.core.merge import Merge, MergeState
from analytics.process import crash
from analytics.topics import owner_partition
from analytics.transport.records import RecordBatch
from tables.changelog import SegmentTable
from tables.segments import Change, PaneId, Recovered

log = structlog.get_logger(__name__)

#: Without new rows there are only heartbeats to be remembered, and reading some again is nothing.
QUIET_SECONDS = 5.0


class MergeAgent:
    """Phase 2 of the partitions this worker owns, and the live metrics that queries read."""

    stage = "merge"

    def __init__(self, context: Context, table: SegmentTable) -> None:
        self._context = context
        self.partitions: Partitions[Merge] = Partitions(
            context, context.topics.partials, table, self
        )

    def owns(self, metric: Metric) -> bool:
        """Whether this worker merges ``metric``."""
        return self.owner(metric) in self.partitions.held

    def owner(self, metric: Metric) -> int:
        """The partition of `partials` whose owner merges ``metric``."""
        return owner_partition(metric.name, self._context.settings.partitions)

    def live(self, metric: Metric) -> LiveMetric | None:
        """The state of a metric this worker merges, None while nothing was heard of it."""
        held = self.partitions.held.get(self.owner(metric))
        return None if held is None else held.work.metrics.get(metric.key)

    async def take(self, batch: RecordBatch) -> None:
        """Take a batch of deliveries in, unless it does not follow on what is applied already."""
        held = await self.partitions.follow(batch)
        if held is None:
            return
        merge = held.work
        for record in batch.after(merge.applied):
            if record.value:
                self._deliver(merge, record.value)
            merge.advance(record.offset)
        crash.at("merge.taken")

    def _deliver(self, merge: Merge, raw: bytes) -> None:
        try:
            delivery = decode_delivery(raw)
            taken = merge.take(delivery)
        except ValueError as error:
            log.error("dropped a record of `partials` that is not a delivery", error=str(error))
            return
        if not taken:
            self._context.metrics.stale.inc()
        elif delivery.partials:
            self._observe_freshness(delivery)

    def _observe_freshness(self, delivery: Delivery) -> None:
        newest_ms = delivery.watermark_ms + self._context.settings.disorder_ms
        self._context.metrics.freshness_seconds.observe((clock.now_ms() - newest_ms) / 1000)

    async def flush(self, held: Held[Merge]) -> None:
        """Make durable what was taken in."""
        merge, metrics = held.work, self._context.metrics
        applied = merge.applied
        if applied == held.flushed:
            return
        if not merge.changed and clock.monotonic() - held.flushed_at < QUIET_SECONDS:
            return
        changes = [
            Change(PaneId(one.metric, one.start_ms, one.source), one.pane, dirty)
            for one, dirty in merge.take_changes()
        ]
        evicted = [PaneId(*one) for one in merge.take_evicted()]
        state = msgspec.msgpack.encode(merge.state())
        await held.state.flush(changes, evicted, applied, state)
        held.flushed, held.flushed_at = applied, clock.monotonic()
        metrics.flushed_rows.labels(self.stage).inc(sum(len(one.dirty.keys) for one in changes))
        for live in merge.metrics.values():
            metrics.series.labels(live.metric.name).set(len(live.series))

    def restore(self, partition: int, recovered: Recovered) -> Merge:
        """The merge as the last marker left it."""
        metrics = self._context.catalog.metrics
        catalog = Catalog(tuple(one for one in metrics if self.owner(one) == partition))
        merge = Merge(catalog, self._context.settings.partitions)
        if recovered.marker is not None:
            merge.restore(
                recovered.marker.applied,
                msgspec.msgpack.decode(recovered.marker.state, type=MergeState),
                [(segment.source, segment.partials) for segment in recovered.segments],
            )
        return merge

    async def claim(self, held: Held[Merge]) -> None:
        """Write a marker under the new epoch."""
        merge = held.work
        await held.state.flush([], [], merge.applied, msgspec.msgpack.encode(merge.state()))
        crash.at("merge.claimed")
        held.flushed = merge.applied
        log.info(
            "took over a partition of metrics",
            partition=held.partition,
            epoch=held.state.owner.epoch,
            applied=merge.applied,
            metrics=sorted(one.name for one in merge.catalog.metrics),
        )
