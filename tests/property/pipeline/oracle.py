"""Owns what is true of a log of events: a plain loop over it, kept for every owner of it.

Event number n of a source partition has the value 2^n, so that a sum says which events are in it:
one that is missing is a missing bit, one that counts twice makes the sum differ from the count.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import orjson

from analytics.core.aggregates.pane import Pane, Partials
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import Metric, parse_metrics
from analytics.core.watermark import NO_WATERMARK

DISORDER_MS = 2_000
FUTURE_MS_MAX = 4_000
#: Sums of float64 are exact below 2^53.
EVENTS_MAX = 52


def _metrics() -> tuple[Metric, ...]:
    """Two metrics whose names lead to one partition of `partials`; one forgets, one does not."""
    common = {"dimensions": ["source"], "value": "data.v", "aggregations": ["count", "sum"]}
    tumbling = {"window": {"size": "4s", "grace": "3s"}, "retention": "8s"}
    sliding = {"window": {"size": "4s", "advance": "2s", "grace": "0s"}, "retention": "1h"}
    return parse_metrics(
        {"metrics": {"tumbling": {**common, **tumbling}, "sliding": {**common, **sliding}}},
        "metrics.yaml",
    )


CATALOG = Catalog(_metrics())

PaneKey = tuple[str, int]
"""Metric key and start."""
Row = dict[str, int]
"""By series, the events it counts, a bit each."""
Rows = dict[PaneKey, Row]


class Line(NamedTuple):
    """A line of a record; without a time it is no event."""

    raw: bytes
    at_ms: int | None = None
    series: str = ""
    bit: int = 0


class Record(NamedTuple):
    """What stands at an offset of a source partition."""

    offset: int
    value: bytes
    lines: Sequence[Line]


def event_line(at_ms: int, series: str, number: int) -> Line:
    event = {"id": str(number), "timestamp": at_ms, "type": "t", "source": series}
    return Line(orjson.dumps(event | {"data": {"v": 1 << number}}), at_ms, series, 1 << number)


def closes_at(metric: Metric, start_ms: int) -> int:
    return start_ms + metric.window.size_ms + metric.window.grace_ms


def panes_of(at_ms: int) -> Iterable[tuple[Metric, PaneKey]]:
    """The panes that an event of this time belongs to."""
    for metric in CATALOG.metrics:
        yield metric, (metric.key, at_ms - at_ms % metric.window.pane_ms)


def add(rows: Rows, at: PaneKey, line: Line) -> None:
    """Count an event; rows that are shared are not changed in place."""
    row = rows.get(at, {})
    rows[at] = row | {line.series: row.get(line.series, 0) | line.bit}


@dataclass(slots=True)
class Lineage:
    """What a plain loop makes of a log up to ``applied``, under the clocks of its owners.

    Rows of closed panes are kept. Every event is in exactly one place: a row, `late` or `refused`;
    what comes a second time is in none. When panes are closed is the product's choice (`note`).
    """

    applied: int = -1
    highest_ms: int | None = None
    rows: Rows = field(default_factory=dict)
    late: Row = field(default_factory=dict)
    refused: frozenset[tuple[int, int]] = frozenset()
    seen: int = 0
    duplicates: int = 0
    closed: dict[str, int] = field(default_factory=dict)
    open: frozenset[PaneKey] = frozenset()

    def copy(self) -> "Lineage":
        """As of now; what is shared is never changed in place."""
        return replace(self, rows=dict(self.rows), late=dict(self.late))

    def watermark_ms(self, now_ms: int) -> int:
        if self.highest_ms is None:
            return NO_WATERMARK
        return min(self.highest_ms, now_ms) - DISORDER_MS

    def read(self, records: Iterable[Record], now_ms: int) -> None:
        """Go on with these records."""
        for record in records:
            for number, line in enumerate(record.lines):
                if line.at_ms is None or line.at_ms > now_ms + FUTURE_MS_MAX:
                    self.refused |= {(record.offset, number)}
                elif line.bit & self.seen:
                    self.duplicates += 1
                else:
                    self._count(line, line.at_ms, self.watermark_ms(now_ms))

    def _count(self, line: Line, at_ms: int, watermark_ms: int) -> None:
        self.seen |= line.bit
        self.highest_ms = max(at_ms, at_ms if self.highest_ms is None else self.highest_ms)
        for metric, at in panes_of(at_ms):
            key, start_ms = at
            closed = self.closed.get(key)
            limit_ms = NO_WATERMARK if closed is None else closes_at(metric, closed)
            if closes_at(metric, start_ms) <= max(watermark_ms, limit_ms):
                self.late[key] = self.late.get(key, 0) | line.bit
            else:
                add(self.rows, at, line)

    def note(self, opened: frozenset[PaneKey], closed: dict[str, int], now_ms: int) -> None:
        """A flush has begun that leaves these panes open: the others must be due."""
        for key, start_ms in self.rows.keys() - opened:
            floor_ms = closed.get(key, NO_WATERMARK)
            assert start_ms <= floor_ms, "a pane is gone and may open again"
            due_ms = closes_at(CATALOG.by_key[key], start_ms)
            known = (key, start_ms) not in self.open or due_ms <= self.watermark_ms(now_ms)
            assert known, "a pane is closed that still takes events"
        self.open, self.closed = opened, closed

    def late_counts(self) -> dict[str, int]:
        return {key: bits.bit_count() for key, bits in self.late.items()}


def row_of(keys: Sequence[tuple[str, ...]], counts: Sequence[int], sums: Sequence[float]) -> Row:
    """Which events some rows have counted; an event counted twice is an AssertionError."""
    row: Row = {}
    for (series,), count, total in zip(keys, counts, sums, strict=True):
        bits = int(total)
        assert count == bits.bit_count(), f"{series}: {count} events are not those of {bits:b}"
        row[series] = bits
    return row


def row_of_partials(partials: Partials) -> Row:
    counts = memoryview(partials.columns["count"]).cast("q").tolist()
    return row_of(partials.keys, counts, memoryview(partials.columns["sum"]).cast("d").tolist())


def row_of_pane(pane: Pane) -> Row:
    return row_of(pane.keys, pane.column("count").tolist(), pane.column("sum").tolist())
