"""Both phases without Kafka: sources, deliveries and the merge, under crashes and repeats.

Two source partitions publish to one merge. A source is restored from its last flush under a higher
epoch and publishes its open panes anew; its predecessor may go on for a while and deliver late; any
delivery may come again; the merge is restored from its own last flush and reads on from there.

    log      fold ─ flush ─ publish ┐             ┌ take ─ flush
    log      fold ─ flush ─ publish ┴ deliveries ─┘
                      ╰ restore: epoch + 1, every open pane again

Merged counts never exceed those of a plain loop over the logs, are equal to them in the end, and a
watermark never vouches for events that are missing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from unittest.mock import patch

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from analytics.core import delivery
from analytics.core.aggregates.pane import Partials
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import Metric, parse_metrics
from analytics.core.delivery import Heartbeat, Stamp, decode_delivery, pack
from analytics.core.events.codec import EventCodec, EventLimits
from analytics.core.merge import Merge, MergeState
from analytics.core.source import Source, SourceState, closes_at
from analytics.core.watermark import NO_WATERMARK

SOURCES = 2
DISORDER_MS = 2_000
NOW_MS = 1_000_000  # after all events, so that the clock decides nothing


def metrics() -> tuple[Metric, ...]:
    """Windows of 4 s, and hopping ones over panes of 2 s; both close within these tests."""
    common = {"dimensions": ["source"], "aggregations": ["count"], "retention": "1h"}
    return parse_metrics(
        {
            "metrics": {
                "all": {**common, "window": {"size": "4s", "grace": "3s"}},
                "hopping": {**common, "window": {"size": "4s", "advance": "2s", "grace": "0s"}},
            }
        },
        "metrics.yaml",
    )


CATALOG = Catalog(metrics())


class Event(NamedTuple):
    """When, and which series."""

    at_ms: int
    series: str

    def line(self) -> bytes:
        return orjson.dumps(
            {"id": "1", "timestamp": self.at_ms, "type": "t", "source": self.series}
        )


Record = list[Event]
Truth = dict[tuple[str, int, str], int]
"""Counts by metric key, pane start and series."""


def counted(log: Iterable[Event]) -> Truth:
    """What a plain loop counts of one partition's events; late ones are left out."""
    counts: Truth = {}
    watermark_ms = NO_WATERMARK
    for event in log:
        for metric in CATALOG.metrics:
            start_ms = event.at_ms - event.at_ms % metric.window.pane_ms
            if closes_at(metric, start_ms) > watermark_ms:
                at = (metric.key, start_ms, event.series)
                counts[at] = counts.get(at, 0) + 1
        watermark_ms = max(watermark_ms, event.at_ms - DISORDER_MS)
    return counts


def up_to(log: Sequence[Record], watermark_ms: int) -> list[Event]:
    """The shortest prefix of a log after which its watermark has come this far."""
    prefix: list[Event] = []
    for record in log:
        if max((event.at_ms for event in prefix), default=NO_WATERMARK) - DISORDER_MS >= (
            watermark_ms
        ):
            break
        prefix += record
    return prefix


CODEC = EventCodec(CATALOG.fields, EventLimits())


def new_source() -> Source:
    return Source(CATALOG, DISORDER_MS)


@dataclass
class Flushed:
    """What the last flush of a source partition made durable.

    As in `tables.segments`, the rows of a closed pane stay until the flush that closed it is known
    to be published.
    """

    applied: int = -1
    state: SourceState = field(default_factory=lambda: SourceState(None, {}))
    rows: dict[tuple[str, int], list[Partials]] = field(default_factory=dict)
    closed: set[tuple[str, int]] = field(default_factory=set)


@dataclass
class Partition:
    """A source partition: its log, what is durable of it, and who works on it."""

    number: int
    log: list[Record] = field(default_factory=list)
    flushed: Flushed = field(default_factory=Flushed)
    epoch: int = 0
    source: Source = field(default_factory=new_source)
    #: The former owner, that does not know it, and its epoch.
    paused: tuple[int, Source] | None = None

    def deliveries(self, epoch: int, source: Source, rows: Sequence[Partials]) -> list[bytes]:
        stamp = Stamp(epoch, source.applied)
        watermark_ms = source.watermark_ms(NOW_MS)
        return list(pack(Heartbeat(self.number, stamp, watermark_ms, False, source.late), rows))

    def flush(self) -> list[bytes]:
        """Make durable what the owner folded; what it then has to publish."""
        source, flushed = self.source, self.flushed
        changes = source.take_changes()
        for pane, dirty in changes:
            flushed.rows.setdefault((pane.metric, pane.start_ms), []).append(dirty)
        flushed.closed |= {(pane.metric, pane.start_ms) for pane in source.take_closed(NOW_MS)}
        flushed.applied, flushed.state = source.applied, source.state()
        return self.deliveries(self.epoch, source, [dirty for _, dirty in changes])

    def published(self) -> None:
        """The last flush is published, and the group has accepted its offset."""
        for at in self.flushed.closed:
            del self.flushed.rows[at]
        self.flushed.closed.clear()

    def restore(self) -> list[bytes]:
        """A new owner, at the last flush; what it has to publish."""
        self.paused = (self.epoch, self.source)
        self.epoch += 1
        self.source = new_source()
        rows = [partials for written in self.flushed.rows.values() for partials in written]
        self.source.restore(self.flushed.applied, self.flushed.state, rows)
        panes = [pane.pane.partials() for pane in self.source.open_panes()]
        return self.deliveries(self.epoch, self.source, panes)


def fold(source: Source, log: Sequence[Record], n: int) -> None:
    """Fold the next ``n`` records of the log."""
    records = log[source.applied + 1 :][:n]
    if records:
        values = [b"\n".join(event.line() for event in record) for record in records]
        columns = CODEC.decode(values, NOW_MS).columns
        source.fold(columns, source.applied + len(records), NOW_MS)


EVENTS = st.builds(Event, st.integers(0, 40).map(lambda tick: tick * 500), st.sampled_from("abc"))
RECORDS = st.lists(st.lists(EVENTS, min_size=1, max_size=4), min_size=1, max_size=4)
NUMBERS = st.integers(0, SOURCES - 1)


class Pipeline(RuleBasedStateMachine):
    """Source partitions, the topic between the phases, and the merge."""

    @initialize()
    def begin(self) -> None:
        self.partitions = [Partition(number) for number in range(SOURCES)]
        self.topic: list[bytes] = []
        self.merge = Merge(CATALOG, SOURCES)
        self.saved: tuple[int, MergeState, dict[tuple[str, int, int], list[Partials]]] = (
            -1,
            MergeState({}, {}),
            {},
        )
        for partition in self.partitions:
            self.topic += partition.restore()
            partition.paused = None

    # --- steps ----------------------------------------------------------------------------------

    @rule(number=NUMBERS, records=RECORDS)
    def produce(self, number: int, records: list[Record]) -> None:
        self.partitions[number].log += records

    @rule(number=NUMBERS, n=st.integers(1, 6))
    def fold(self, number: int, n: int) -> None:
        partition = self.partitions[number]
        fold(partition.source, partition.log, n)

    @rule(number=NUMBERS)
    def flush(self, number: int) -> None:
        self.topic += self.partitions[number].flush()
        self.partitions[number].published()

    @rule(number=NUMBERS, sent=st.integers(0, 3))
    def flush_and_die_before_all_is_published(self, number: int, sent: int) -> None:
        self.topic += self.partitions[number].flush()[:sent]
        self.topic += self.partitions[number].restore()

    @rule(number=NUMBERS)
    def lose_the_partition_to_a_new_owner(self, number: int) -> None:
        self.topic += self.partitions[number].restore()

    @rule(number=NUMBERS, n=st.integers(0, 6))
    def the_former_owner_goes_on_for_a_while(self, number: int, n: int) -> None:
        partition = self.partitions[number]
        if partition.paused is not None:
            epoch, source = partition.paused
            fold(source, partition.log, n)
            rows = [dirty for _, dirty in source.take_changes()]
            self.topic += partition.deliveries(epoch, source, rows)

    @precondition(lambda self: self.topic)
    @rule(back=st.integers(1, 20), n=st.integers(1, 5))
    def old_deliveries_come_again(self, back: int, n: int) -> None:
        # Of a producer that repeats what it sent: in their old order, perhaps after newer ones.
        first = max(0, len(self.topic) - back)
        self.topic += self.topic[first : first + n]

    @rule(n=st.integers(1, 6))
    def take(self, n: int) -> None:
        for offset in range(
            self.merge.applied + 1, min(self.merge.applied + 1 + n, len(self.topic))
        ):
            self.merge.take(decode_delivery(self.topic[offset]))
            self.merge.advance(offset)
            self.nothing_is_counted_twice_or_vouched_for_in_vain()

    @rule()
    def save_the_merge(self) -> None:
        rows = self.saved[2]
        for pane, dirty in self.merge.take_changes():
            rows.setdefault((pane.metric, pane.start_ms, pane.source), []).append(dirty)
        for evicted in self.merge.take_evicted():
            rows.pop(evicted, None)
        self.saved = (self.merge.applied, self.merge.state(), rows)

    @rule()
    def restore_the_merge(self) -> None:
        applied, state, rows = self.saved
        self.merge = Merge(CATALOG, SOURCES)
        written = [(at[2], partials) for at, several in rows.items() for partials in several]
        self.merge.restore(applied, state, written)

    # --- what must hold -------------------------------------------------------------------------

    def merged(self, source: int | None = None) -> Truth:
        """Counts of all sources, or of one."""
        counts: Truth = {}
        for key, live in self.merge.metrics.items():
            for start_ms, panes in live.panes.items():
                for number, pane in panes.items():
                    if source is None or number == source:
                        for (series,), count in zip(
                            pane.keys, pane.column("count").tolist(), strict=True
                        ):
                            at = (key, start_ms, series)
                            counts[at] = counts.get(at, 0) + count
        return counts

    @invariant()
    def nothing_is_counted_twice_or_vouched_for_in_vain(self) -> None:
        for partition in self.partitions:
            truth = counted(event for record in partition.log for event in record)
            merged = self.merged(partition.number)
            assert all(count <= truth.get(at, 0) for at, count in merged.items())
            for metric in CATALOG.metrics:
                live = self.merge.metrics.get(metric.key)
                if live is None or live.watermark_ms(SOURCES) == NO_WATERMARK:
                    continue
                watermark_ms = live.watermark_ms(SOURCES)
                for at, count in counted(up_to(partition.log, watermark_ms)).items():
                    if at[0] == metric.key and at[1] + metric.window.pane_ms <= watermark_ms:
                        assert merged.get(at, 0) >= count, (at, watermark_ms)

    def teardown(self) -> None:
        """All is read, published and taken in: the merge has what a plain loop counts."""
        if not hasattr(self, "partitions"):
            return
        truth: Truth = {}
        for partition in self.partitions:
            fold(partition.source, partition.log, len(partition.log))
            self.topic += partition.flush()
            for at, count in counted(event for one in partition.log for event in one).items():
                truth[at] = truth.get(at, 0) + count
        self.take(len(self.topic))
        assert self.merged() == truth
        lates = [partition.source.late for partition in self.partitions]
        for metric in CATALOG.metrics:
            late = self.merge.metrics[metric.key].late_events
            assert late == sum(one.get(metric.key, 0) for one in lates)


def test_the_merge_never_shows_more_than_the_truth_and_in_the_end_all_of_it() -> None:
    # So small that the rows of a flush need several deliveries.
    with patch.object(delivery, "DELIVERY_BYTES_MAX", 100):
        run_state_machine_as_test(
            Pipeline, settings=settings(max_examples=200, stateful_step_count=30, deadline=None)
        )
