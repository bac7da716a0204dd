"""Agent `aggregate`, phase 1: folds batches of events and flushes what changed, by partition.

A flush of a partition, each step awaited before the next:

1. dead letters, which may repeat after a crash but are never lost;
2. changed rows and the marker to the changelog, then to the local store (`tables.partition`);
3. the changed rows to `partials`;
4. the consumer learns what is durable, and may commit it.

Folding goes on while a flush waits for Kafka: it works on a snapshot, complete before the first
step. A crash between 2 and 3 is healed by the next owner, which publishes every open pane once
under its own epoch.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog
from faust.types import TP

from agents.context import Context
from agents.letters import dead_letters
from agents.partitions import Held, Partitions
from analytics import clock
from analytics.core.aggregates.pane import Partials
from analytics.core.dedup import IDS
from analytics.core.delivery import Heartbeat, Stamp, pack
from analytics.core.events.codec import EventCodec, EventLimits
from analytics.core.source import OpenPane, Source, SourceState
from analytics.process import crash
from analytics.topics import owner_partition
from analytics.transport.batch import consumer_of
from analytics.transport.producer import Outgoing
from analytics.transport.records import Record, RecordBatch
from tables.changelog import SegmentTable
from tables.segments import Change, PaneId, Recovered

log = structlog.get_logger(__name__)

#: Folding yields to the event loop after so many bytes of records (about 10 ms of work).
CHUNK_BYTES = 1 << 20
#: Records folded but not yet durable; beyond this a partition's agent waits for a flush.
UNFLUSHED_BYTES_MAX = 64 << 20
#: Partitions of `partials` that got no rows hear from a source at least this often.
HEARTBEAT_SECONDS = 1.0


@dataclass(slots=True)
class Reading:
    """A source partition being read."""

    source: Source
    letters: list[Outgoing] = field(default_factory=list)
    unflushed_bytes: int = 0
    #: Monotonic time of the last batch and of the last heartbeat.
    read_at: float = field(default_factory=clock.monotonic)
    told_at: float = 0.0

    @property
    def applied(self) -> int:
        """Highest offset folded in."""
        return self.source.applied


class Aggregate:
    """Phase 1 of the source partitions this worker owns."""

    stage = "aggregate"

    def __init__(self, context: Context, table: SegmentTable) -> None:
        self._context = context
        settings = context.settings
        limits = EventLimits(settings.event_bytes_max, settings.future_ms_max)
        self._codec = EventCodec(context.catalog.fields, limits)
        self.partitions: Partitions[Reading] = Partitions(
            context, context.topics.events, table, self
        )
        self._owners = sorted({self._owner(one.name) for one in context.catalog.metrics})

    async def take(self, batch: RecordBatch) -> None:
        """Fold a batch, unless it does not follow on what is applied already."""
        held = await self.partitions.follow(batch)
        if held is None:
            return
        held.work.read_at = clock.monotonic()
        for records in _chunks(batch.after(held.work.applied)):
            if not self.partitions.holds(held):
                return
            self._fold(held, records)
            await asyncio.sleep(0)
        if held.work.unflushed_bytes > UNFLUSHED_BYTES_MAX:
            await self.partitions.flush(held)

    def _fold(self, held: Held[Reading], records: Sequence[Record]) -> None:
        metrics, topics, reading = self._context.metrics, self._context.topics, held.work
        values = [record.value for record in records]
        now_ms = clock.now_ms()
        decoded = self._codec.decode(values, now_ms)
        crash.at("aggregate.decoded")
        folded = reading.source.fold(decoded.columns, records[-1].offset, now_ms)
        crash.at("aggregate.folded")
        size = sum(len(value) for value in values if value)
        reading.unflushed_bytes += size
        metrics.events.inc(folded.events)
        metrics.event_bytes.inc(size)
        metrics.duplicates.inc(folded.duplicates)
        if decoded.rejected:
            origin = (topics.events, held.partition)
            reading.letters += dead_letters(topics.dead_letters, origin, records, decoded.rejected)
            for one in decoded.rejected:
                metrics.rejected.labels(one.reason).inc()

    async def flush(self, held: Held[Reading]) -> None:
        """Make durable what was folded, and publish it."""
        reading, producer = held.work, self._context.producer
        source, now_ms = reading.source, clock.now_ms()
        letters, reading.letters = reading.letters, []
        reading.unflushed_bytes = 0
        changes = source.take_changes()
        closed = source.take_closed(now_ms)
        applied, state = source.applied, msgspec.msgpack.encode(source.state())
        told = list(self._deliveries(held, [dirty for _, dirty in changes], now_ms))
        entries = None
        ids, forgotten = _ids(held)
        if changes or closed or forgotten or applied != held.flushed:
            entries = held.state.prepare(
                [*(Change(_id(one, held), one.pane, dirty) for one, dirty in changes), *ids],
                [*(PaneId(*one, held.partition) for one in closed), *forgotten],
                applied,
                state,
            )
        if letters:
            await producer.send(letters)
            crash.at("aggregate.lettered")
        if entries is not None:
            await held.state.write(entries)
        if told:
            await producer.send(told)
            crash.at("aggregate.published")
        held.flushed = applied
        rows = sum(len(dirty.keys) for _, dirty in changes)
        self._context.metrics.flushed_rows.labels(self.stage).inc(rows)

    def restore(self, partition: int, recovered: Recovered) -> Reading:
        """The source as the last marker left it."""
        settings = self._context.settings
        source = Source(self._context.catalog, settings.disorder_ms, settings.dedup_ids)
        if recovered.marker is not None:
            state = msgspec.msgpack.decode(recovered.marker.state, type=SourceState)
            rows = [segment.partials for segment in recovered.segments]
            source.restore(recovered.marker.applied, state, rows)
        return Reading(source)

    async def claim(self, held: Held[Reading]) -> None:
        """Write a marker under the new epoch, then publish every open pane under it."""
        source = held.work.source
        state = msgspec.msgpack.encode(source.state())
        await held.state.flush([], [], source.applied, state)
        crash.at("aggregate.claimed")
        rows = [one.pane.partials() for one in source.open_panes()]
        await self._context.producer.send(list(self._deliveries(held, rows, clock.now_ms())))
        crash.at("aggregate.republished")
        held.flushed = source.applied
        log.info(
            "took over a source partition",
            partition=held.partition,
            epoch=held.state.owner.epoch,
            applied=source.applied,
            open_panes=len(rows),
        )

    def _deliveries(
        self, held: Held[Reading], dirty: Sequence[Partials], now_ms: int
    ) -> Iterator[Outgoing]:
        """Changed rows to whoever owns their metrics; now and then a heartbeat to all."""
        context, reading = self._context, held.work
        rows: dict[int, list[Partials]] = {}
        for partials in dirty:
            owner = self._owner(context.catalog.by_key[partials.metric].name)
            rows.setdefault(owner, []).append(partials)
        if clock.monotonic() - reading.told_at >= HEARTBEAT_SECONDS:
            reading.told_at = clock.monotonic()
            rows |= {owner: [] for owner in self._owners if owner not in rows}
        heartbeat = Heartbeat(
            source=held.partition,
            stamp=Stamp(held.state.owner.epoch, reading.applied),
            watermark_ms=reading.source.watermark_ms(now_ms),
            idle=self._idle(held),
            late=reading.source.late,
        )
        key = str(held.partition).encode()
        for owner, partials_of_owner in rows.items():
            for value in pack(heartbeat, partials_of_owner):
                yield Outgoing(context.topics.partials, value, key=key, partition=owner)

    def _idle(self, held: Held[Reading]) -> bool:
        """Read to the end, and silent since: nothing this partition holds can be missing."""
        silent_ms = (clock.monotonic() - held.work.read_at) * 1000
        if silent_ms < self._context.settings.idle_ms:
            return False
        tp = TP(self._context.topics.events, held.partition)
        end = consumer_of(self._context.app).end_offset(tp)
        return end is not None and (held.next_offset or 0) >= end

    def _owner(self, metric_name: str) -> int:
        return owner_partition(metric_name, self._context.settings.partitions)


def _id(one: OpenPane, held: Held[Reading]) -> PaneId:
    return PaneId(one.metric, one.start_ms, held.partition)


def _ids(held: Held[Reading]) -> tuple[list[Change], list[PaneId]]:
    """What a flush has to write and to drop of the ids remembered; nobody is told of them."""
    ids, partition = held.work.source.ids, held.partition
    changes = ids.take_changes()
    written = [
        Change(PaneId(IDS, chunk.number, partition), chunk, dirty) for chunk, dirty in changes
    ]
    return written, [PaneId(IDS, number, partition) for number in ids.take_forgotten()]


def _chunks(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut ``records`` into consecutive pieces of about CHUNK_BYTES."""
    begin = size = 0
    for end, record in enumerate(records, 1):
        size += len(record.value or b"")
        if size >= CHUNK_BYTES:
            yield records[begin:end]
            begin, size = end, 0
    if begin < len(records):
        yield records[begin:]
