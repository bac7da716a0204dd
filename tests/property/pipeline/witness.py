"""Owns what must hold: it sees every write and, after each step, what a reader would find."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from analytics.core.delivery import Delivery
from analytics.core.merge import Merge, MergeState, SourceReport
from analytics.core.source import Source, SourceState
from analytics.core.watermark import NO_WATERMARK
from analytics.transport.producer import Outgoing
from tables.segments import Entry, Recovered, recover
from tests.property.pipeline.kafka import MERGE_UNIT, SOURCES, Kafka, Unit
from tests.property.pipeline.oracle import (
    CATALOG,
    DISORDER_MS,
    Lineage,
    Rows,
    row_of_pane,
    row_of_partials,
)

FOREVER_MS = 1 << 60

Order = tuple[int, int]
"""Generation in which an owner was given a unit, and the running number of its takeover."""


def rows_of(merge: Merge) -> dict[int, Rows]:
    """What a merge holds, by source partition."""
    rows: dict[int, Rows] = {source: {} for source in range(SOURCES)}
    for key, live in merge.metrics.items():
        for start_ms, panes in live.panes.items():
            for source, pane in panes.items():
                rows[source][key, start_ms] = row_of_pane(pane)
    return rows


def reports_of(merge: Merge) -> dict[int, SourceReport]:
    return merge.state().reports


@dataclass(slots=True)
class Merged:
    """What a merge held at a moment."""

    applied: int = -1
    rows: dict[int, Rows] = field(default_factory=lambda: {n: {} for n in range(SOURCES)})
    state: MergeState = field(default_factory=lambda: MergeState({}, {}, {}, SOURCES))

    @classmethod
    def of(cls, merge: Merge) -> "Merged":
        """As of now."""
        return cls(merge.applied, rows_of(merge), merge.state())


@dataclass(frozen=True, slots=True)
class Claim:
    """What the markers of an owner stand for until its next flush."""

    order: Order
    state: Lineage | Merged


@dataclass(slots=True)
class Answers:
    """What a merge would have answered when it was last looked at."""

    applied: int = -2
    rows: dict[int, Rows] = field(default_factory=dict)
    reports: dict[int, SourceReport] = field(default_factory=dict)
    watermarks: dict[str, int] = field(default_factory=dict)


class Witness:
    """Knows what every flush promised, and compares."""

    def __init__(self, kafka: Kafka, *, steady: bool) -> None:
        self._kafka = kafka
        #: Whether all clocks stand still, so that all owners of a log must agree.
        self._steady = steady
        self._takeovers = 0
        self._finished: dict[Unit, Claim] = {}
        self._changed: set[Unit] = set()
        #: What a source partition had come to at each stamp it published.
        self._published: dict[tuple[int, int, int], Lineage] = {}
        #: Sources of which a former owner published more than its successor had read.
        self._overtaken: set[int] = set()
        #: By metric, the greatest watermark that any merge had: it may have evicted by that.
        self._reached: dict[str, int] = {}
        #: The greatest watermark while nobody waited for a source, as it was idle.
        self._excused: dict[int, int] = {}

    # --- writes ---------------------------------------------------------------------------------

    def next_order(self, generation: int) -> Order:
        """Of somebody who takes over now."""
        self._takeovers += 1
        return (generation, self._takeovers)

    def newest(self, unit: Unit) -> Lineage | Merged:
        """The state that somebody who reads the changelog now must find."""
        if unit in self._finished:
            return self._finished[unit].state
        return Merged() if unit == MERGE_UNIT else Lineage()

    def logged(self, unit: Unit, batch: Sequence[Entry], claim: Claim | None) -> None:
        """A record batch was appended to a changelog."""
        self._changed.add(unit)
        if not any(entry.key[:1] == b"m" and entry.value is not None for entry in batch):
            return
        assert claim is not None
        finished = self._finished.get(unit)
        if finished is None or claim.order >= finished.order:
            self._finished[unit] = claim
        if isinstance(claim.state, Lineage):
            wanted = {(unit.partition, *at) for at in claim.state.refused}
            assert wanted <= self._kafka.letters, "a letter is missing"

    def touched(self, unit: Unit) -> None:
        """Something else happened to a changelog."""
        self._changed.add(unit)

    def lettered(self, one: Outgoing) -> None:
        """A dead letter was written."""
        headers = dict(one.headers)
        partition, offset, line = (int(headers[name]) for name in ("partition", "offset", "line"))
        (record,) = self._kafka.events[partition].between(offset, offset)
        assert one.value == record.lines[line].raw
        self._kafka.letters.add((partition, offset, line))

    def published(self, delivery: Delivery, claim: Claim | None) -> None:
        """Rows of a flush or a takeover were published: those of its state, and only those."""
        assert claim is not None
        lineage = claim.state
        assert isinstance(lineage, Lineage)
        source = delivery.source
        assert delivery.applied == lineage.applied
        for partials in delivery.partials:
            expected = lineage.rows.get((partials.metric, partials.start_ms), {})
            for series, bits in row_of_partials(partials).items():
                assert bits == expected.get(series), "published rows are not those of their flush"
        assert delivery.late == lineage.late_counts()
        assert delivery.watermark_ms <= lineage.watermark_ms(FOREVER_MS)
        stamp = (source, delivery.epoch, delivery.applied)
        if stamp not in self._published and any(
            s == source and epoch < delivery.epoch and applied > delivery.applied
            for s, epoch, applied in self._published
        ):
            self._overtaken.add(source)
        self._published[stamp] = lineage

    # --- a reader of the changelog --------------------------------------------------------------

    def check_changelogs(self) -> None:
        """Who reads a changelog finds the last finished flush of its newest owner."""
        for unit in self._changed:
            found = recover(self._kafka.changelogs[unit].live().items(), bytes(8), 0)
            finished = self._finished.get(unit)
            if finished is None:
                assert found.marker is None
            elif isinstance(finished.state, Lineage):
                _compare_source(found, finished.state)
            else:
                _compare_merge(found, finished.state)
        self._changed.clear()

    # --- a reader of the merge ------------------------------------------------------------------

    def check_merge(self, merge: Merge, answers: Answers) -> None:
        """What queries see is never more than the truth, and all of what is vouched for."""
        if answers.applied == merge.applied:
            return
        taken = self._kafka.partials.deliveries[max(answers.applied, 0) : merge.applied + 1]
        idle = {delivery.source for delivery in taken if delivery.idle}
        answers.applied = merge.applied
        before, answers.rows = answers.rows, rows_of(merge)
        for source, rows in answers.rows.items():
            truth = self._kafka.events[source].all
            for at, row in rows.items():
                if row == before.get(source, {}).get(at):
                    continue
                _settled_or_revised(merge, answers, at)
                for series, bits in row.items():
                    assert bits & ~truth.get(at, {}).get(series, 0) == 0, "more than the truth"
        for key, live in merge.metrics.items():
            fallen = live.watermark_ms(SOURCES) < answers.watermarks.get(key, NO_WATERMARK)
            assert not fallen, "what was final is open again"
            answers.watermarks[key] = live.watermark_ms(SOURCES)
            reached = self._reached.get(key, NO_WATERMARK)
            self._reached[key] = max(answers.watermarks[key], reached)
        for source, report in reports_of(merge).items():
            known = answers.reports.get(source, report)
            assert (report.epoch, report.complete) >= (known.epoch, known.complete)
            answers.reports[source] = report
            reached = max(answers.watermarks.values(), default=NO_WATERMARK)
            if report.idle or known.idle or source in idle:
                self._excused[source] = max(reached, self._excused.get(source, NO_WATERMARK))
            self._check_source(answers, source, reached)

    def _check_source(self, answers: Answers, source: int, reached: int) -> None:
        """All rows are there up to where the source is complete, and the watermark knows it."""
        report = answers.reports[source]
        epochs = [
            epoch
            for of, epoch, applied in self._published
            if of == source and applied == report.complete and epoch <= report.epoch
        ]
        if not epochs:
            assert report.complete == -1
            return
        lineage = self._published[source, max(epochs), report.complete]
        vouched_ms = lineage.watermark_ms(FOREVER_MS)
        excused_ms = self._excused.get(source, NO_WATERMARK)
        assert reached <= max(vouched_ms, excused_ms), "vouched for in vain"
        if source not in self._overtaken or self._steady:
            self._nothing_is_missing(answers.rows[source], lineage.rows)

    def _nothing_is_missing(self, found: Rows, expected: Rows) -> None:
        for at, row in expected.items():
            if at in found or not self._expired(*at):
                for series, bits in row.items():
                    missing = bits & ~found.get(at, {}).get(series, 0)
                    assert missing == 0, f"{missing:b} of {series} in {at} are missing"

    def _expired(self, key: str, start_ms: int) -> bool:
        """Whether a pane is past its retention, so that a merge need not hold it."""
        metric = CATALOG.by_key[key]
        end_ms = start_ms + metric.window.size_ms + metric.retention_ms
        return end_ms <= self._reached.get(key, NO_WATERMARK)

    # --- in the end -----------------------------------------------------------------------------

    def check_end(self, merge: Merge, lineages: Sequence[Lineage]) -> None:
        """All is read, published and taken in: every line is in one place, and the merge has it."""
        assert merge.applied == self._kafka.partials.end - 1
        found, reports = rows_of(merge), reports_of(merge)
        for source, lineage in enumerate(lineages):
            records = self._kafka.events[source].records
            assert lineage.applied == (records[-1].offset if records else -1)
            self._every_line_is_in_one_place(source, lineage)
            report = reports[source]
            assert (report.applied, report.complete) == (lineage.applied, lineage.applied)
            assert report.late == lineage.late_counts()
            if source not in self._overtaken or self._steady:
                self._nothing_is_missing(found[source], lineage.rows)
                assert all(row == lineage.rows.get(at) for at, row in found[source].items())

    def _every_line_is_in_one_place(self, source: int, lineage: Lineage) -> None:
        seen, events = 0, 0
        for record in self._kafka.events[source].records:
            for number, line in enumerate(record.lines):
                if (record.offset, number) in lineage.refused:
                    assert (source, record.offset, number) in self._kafka.letters
                else:
                    seen, events = seen | line.bit, events + 1
        assert events == seen.bit_count() + lineage.duplicates
        for metric in CATALOG.metrics:
            bits = lineage.late.get(metric.key, 0)
            for (key, _), row in lineage.rows.items():
                for some in row.values() if key == metric.key else ():
                    assert bits & some == 0
                    bits |= some
            assert bits == seen


def _compare_source(found: Recovered, expected: Lineage) -> None:
    assert found.marker is not None
    source = Source(CATALOG, DISORDER_MS)
    state = msgspec.msgpack.decode(found.marker.state, type=SourceState)
    source.restore(found.marker.applied, state, [one.partials for one in found.segments])
    assert (source.applied, source.highest_ms) == (expected.applied, expected.highest_ms)
    assert (source.late, source.duplicates) == (expected.late_counts(), expected.duplicates)
    assert source.state().closed == expected.closed
    rows = {(one.metric, one.start_ms): row_of_pane(one.pane) for one in source.open_panes()}
    assert rows.keys() >= expected.open, "an open pane is gone"
    assert all(row == expected.rows.get(at) for at, row in rows.items()), "rows of another flush"


def _compare_merge(found: Recovered, expected: Merged) -> None:
    assert found.marker is not None
    merge = Merge(CATALOG, SOURCES)
    state = msgspec.msgpack.decode(found.marker.state, type=MergeState)
    rows = [(one.source, one.partials) for one in found.segments]
    merge.restore(found.marker.applied, state, rows)
    assert Merged.of(merge) == expected


def _settled_or_revised(merge: Merge, answers: Answers, at: tuple[str, int]) -> None:
    """A row has changed: if it was final, its pane must be known to be revised."""
    key, start_ms = at
    settled_ms = start_ms + CATALOG.by_key[key].window.pane_ms
    final = answers.watermarks.get(key, NO_WATERMARK) >= settled_ms
    assert not final or start_ms in merge.metrics[key].revised, "a final number changed unnoticed"
