"""Owns what answers must be in the end, recomputed by polars from what Kafka has acknowledged.

It takes the records from the ledger, computes their events again and knows nothing of what the
tally has counted on the way: the two check one another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tests.services.oracle.events import EventStream, Lines
from tests.services.oracle.fate import Fate, Log
from tests.services.oracle.mishaps import KINDS
from tests.services.oracle.views import PANE_MS, View
from tests.services.workers import PARTITIONS

#: Lines of so many records are computed at a time.
RECORDS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True, order=True)
class Letter:
    """A dead letter without what words it: where the line stood, and why it is no event."""

    partition: int
    offset: int
    place: int
    reason: str


@dataclass(frozen=True, slots=True)
class Expected:
    """Everything that was acknowledged, and what becomes of it.

    ``events`` has the lines that are events, with flags `taken_METRIC` and `late_METRIC`, the
    series and the value for each view. ``acked`` counts the lines that were meant to be events:
    they are among those, refused (as of the future) or duplicates.
    """

    events: pl.DataFrame
    letters: list[Letter]
    acked: int
    refused: int
    duplicates: int

    def late(self, view: View) -> int:
        """How many events of the metric came too late."""
        return int(self.events[f"late_{view.metric}"].sum())

    def rows(self, view: View, *, in_one: bool = False, from_ms: int = 0) -> pl.DataFrame:
        """Every row of a metric: `timestamp` of the bucket, `series`, then the aggregates.

        ``in_one`` means a single bucket over all time since ``from_ms``, whose timestamp is 0.
        """
        wanted = "timestamp", "series", "user", pl.col(f"value_{view.metric}").alias("value")
        panes = self._taken(view).select(*wanted)
        if in_one:
            since = panes.filter(pl.col("timestamp") >= from_ms)
            buckets = since.with_columns(timestamp=pl.lit(0, pl.Int64))
        else:
            # A window that begins up to a size earlier holds the pane as well.
            earlier = range(0, view.size_ms, PANE_MS)
            start = pl.col("timestamp")
            buckets = pl.concat(panes.with_columns(timestamp=start - by_ms) for by_ms in earlier)
        value = pl.col("value").cast(pl.Float64)
        aggregates = {
            "count": pl.len().cast(pl.Int64),
            "sum": value.sum(),
            "min": value.min(),
            "max": value.max(),
            "distinct": pl.col("user").n_unique().cast(pl.Float64),
            # Not `Expr.quantile`: the value of the rank floor(q (n - 1)) is the definition.
            "p50": value.sort().get((pl.len() - 1) // 2),
        }
        asked = [aggregates[name].alias(name) for name in view.functions]
        rows = buckets.group_by("timestamp", "series").agg(asked)
        return rows.sort("timestamp", "series").collect()

    def places(self, view: View) -> pl.DataFrame:
        """What a metric aggregates: `timestamp` of the pane, `series`, number, place in the log."""
        columns = "timestamp", "series", "number", "partition", "offset"
        return self._taken(view).select(*columns).collect()

    def _taken(self, view: View) -> pl.LazyFrame:
        start = pl.col("time_ms") - pl.col("time_ms") % PANE_MS
        series = pl.col(f"series_{view.metric}").cast(pl.Int64)
        taken = self.events.lazy().filter(f"taken_{view.metric}")
        return taken.with_columns(timestamp=start, series=series)


def expected(stream: EventStream, ledger: NDArray[np.int64], views: Sequence[View]) -> Expected:
    """What becomes of the records of a ledger, whose rows are (record, partition, offset)."""
    # In the order they were sent, which the idempotent producer keeps within each partition.
    entries = ledger[np.argsort(ledger[:, 0])]
    _check_order(entries)
    log = Log(stream)
    frames: list[pl.DataFrame] = []
    letters: list[Letter] = []
    acked = refused = duplicates = 0
    for first in range(0, len(entries), RECORDS_AT_ONCE):
        part = entries[first : first + RECORDS_AT_ONCE]
        lines = _lines_of(stream, part[:, 0])
        offsets = part[np.searchsorted(part[:, 0], lines.record), 2]
        fate = log.append(lines)
        frames.append(_frame(lines, fate, offsets, views))
        letters += _letters(lines, fate, offsets)
        acked += int(np.count_nonzero(lines.kind == 0))
        refused += int(np.count_nonzero(fate.refused & (lines.kind == 0)))
        duplicates += int(np.count_nonzero(fate.duplicate))
    return Expected(pl.concat(frames), sorted(letters), acked, refused, duplicates)


# Millions of events in the narrowest types that hold them: a soak leaves little memory.
def _frame(
    lines: Lines, fate: Fate, offsets: NDArray[np.int64], views: Sequence[View]
) -> pl.DataFrame:
    columns: dict[str, NDArray[np.generic]] = {
        "number": lines.number,
        "partition": lines.partition.astype(np.int8),
        "offset": offsets.astype(np.int32),
        "time_ms": lines.time_ms,
        "user": lines.user.astype(np.int16),
    }
    for view in views:
        taken, late = view.split(lines, fate)
        columns[f"taken_{view.metric}"], columns[f"late_{view.metric}"] = taken, late
        columns[f"series_{view.metric}"] = view.series(lines).astype(np.int16)
        columns[f"value_{view.metric}"] = view.value(lines).astype(view.value_type)
    return pl.DataFrame(columns).filter(pl.Series(fate.events))


def _letters(lines: Lines, fate: Fate, offsets: NDArray[np.int64]) -> Iterator[Letter]:
    for at in np.flatnonzero(fate.refused).tolist():
        kind = int(lines.kind[at])
        reason = str(KINDS[kind].reason) if kind else "future_timestamp"
        yield Letter(int(lines.partition[at]), int(offsets[at]), int(lines.place[at]), reason)


def _lines_of(stream: EventStream, records: NDArray[np.int64]) -> Lines:
    """The lines of records with rising numbers, some of which may be missing."""
    lines = stream.lines(int(records[0]), int(records[-1]) + 1)
    if len(records) == int(records[-1] - records[0]) + 1:
        return lines
    kept = np.isin(lines.record, records)
    return Lines(*(getattr(lines, name)[kept] for name in Lines.__slots__))


def _check_order(entries: NDArray[np.int64]) -> None:
    """AssertionError when a partition has its records in another order than they were sent."""
    for partition in range(PARTITIONS):
        offsets = entries[entries[:, 1] == partition, 2]
        assert (np.diff(offsets) > 0).all(), f"partition {partition} is out of order"
