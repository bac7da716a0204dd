"""Owns the aggregates of one metric in one pane from one source partition; it does no I/O."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates import quantiles, topk
from analytics.core.aggregates.keys import OTHER, Ids, Key, KeyIndex
from analytics.core.aggregates.measures import (
    COLUMNS,
    EXTREMES,
    MEASURES,
    Array,
    Floats,
    Integers,
    Measure,
    Rows,
    columns_of,
)
from analytics.core.aggregates.partials import (
    Partials,
    SparseBytes,
    decode,
    encode,
    pack_sparse,
    split,
    unpack_sparse,
)
from analytics.core.aggregates.rows import RowIndex
from analytics.core.aggregates.sparse import EntriesByPosition, EntriesByRow, SparseCounts
from analytics.core.definitions.metric import Metric

__all__ = [
    "MEASURES",
    "OTHER",
    "Batch",
    "Measure",
    "Pane",
    "PaneSpec",
    "Partials",
    "decode",
    "encode",
    "split",
]

_ROWS_MIN = 16


@dataclass(frozen=True, slots=True)
class PaneSpec:
    """What a pane keeps of each series."""

    measures: tuple[str, ...]  # names of MEASURES and EXTREMES; `count` always
    bins: bool  # DDSketch of the value
    registers: bool  # HyperLogLog of the distinct field
    topk: bool  # counters of the top-k field
    dimensions: int
    max_series: int

    @classmethod
    def of(cls, metric: Metric) -> "PaneSpec":
        """The specification that a metric's definition asks for."""
        return cls(
            measures=metric.measures,
            bins=metric.has_bins,
            registers=metric.has_registers,
            topk=metric.has_topk,
            dimensions=len(metric.dimensions),
            max_series=metric.max_series,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """n events of one pane in log order, as columns; `ids` are those of their series.

    A value that is not finite is no value: the event is counted, and nothing more. `distinct` is
    (items int32[n], ranks int64[n], present bool[n]); in `topk` the empty text means no text.
    """

    ids: Ids
    timestamps: Integers
    values: Floats | None = None
    distinct: tuple[NDArray[np.int32], Integers, NDArray[np.bool_]] | None = None
    topk: list[str] | None = None


class Pane:
    """Mutable columnar aggregates, one row a series.

    Folding is a function of the events in log order alone: no split of them into batches changes
    any bit of the state, and sums equal those of a plain loop to the last digit. A batch costs what
    its events cost, however many rows the pane has.
    """

    def __init__(
        self, spec: PaneSpec, start_ms: int, metric: str = "", keys: KeyIndex | None = None
    ) -> None:
        """An empty pane of the metric with that key, beginning at `start_ms`.

        `keys` numbers the series, and may do so for many panes.
        """
        self.spec = spec
        self.start_ms = start_ms
        self.metric = metric
        self.series = KeyIndex() if keys is None else keys
        self._index = RowIndex(self.series, spec.dimensions, spec.max_series)
        self._columns = {name: _empty(name, 0) for name in columns_of(spec.measures)}
        self._dirty = np.zeros(0, np.bool_)
        self._bins = SparseCounts(np.add) if spec.bins else None
        self._registers = SparseCounts(np.maximum) if spec.registers else None
        self._topk: list[dict[str, int]] | None = [] if spec.topk else None

    # --- reading --------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """Number of rows."""
        return self._index.n

    @property
    def keys(self) -> list[Key]:
        """The series key of each row."""
        return self.series.keys_of(self.ids)

    @property
    def ids(self) -> Ids:
        """The series id of each row: a view, read it."""
        return self._index.ids

    @property
    def dirty(self) -> int:
        """Number of rows changed since `take_dirty` was last called."""
        return int(np.count_nonzero(self._dirty[: self.n]))

    @property
    def overflowed(self) -> int:
        """Events folded into OTHER because `max_series` rows were in use."""
        return self._index.overflowed

    @property
    def nbytes(self) -> int:
        """Memory of its arrays: not of keys, which panes share, nor of top-k counters."""
        sketches = [sparse.nbytes for sparse in (self._bins, self._registers) if sparse is not None]
        return sum(column.nbytes for column in self._columns.values()) + sum(sketches)

    def column(self, name: str) -> Array:
        """A view of a stored column, n long; KeyError if the metric does not keep it."""
        return self._columns[name][: self.n]

    def bins(self, rows: Rows) -> EntriesByRow:
        """DDSketch entries of `rows`: (lengths, bins, counts); KeyError if not kept."""
        return _kept(self._bins, "bins").take(rows)

    def bin_entries(self, rows: Rows) -> Iterator[EntriesByPosition]:
        """DDSketch entries of `rows` in pieces: (positions, bins, counts); KeyError if none."""
        return _kept(self._bins, "bins").entries(rows)

    def registers(self, rows: Rows) -> EntriesByRow:
        """HyperLogLog entries of `rows`: (lengths, registers, ranks); KeyError if not kept."""
        return _kept(self._registers, "registers").take(rows)

    def topk(self, row: int) -> dict[str, int]:
        """Top-k counters of a row: read, do not change them; KeyError if not kept."""
        if self._topk is None:
            raise KeyError("topk")
        return self._topk[row]

    # --- folding --------------------------------------------------------------------------------

    def fold(self, batch: Batch) -> None:
        """Fold events in."""
        rows = self._index.rows(batch.ids)
        self._grow()
        self._dirty[rows] = True
        np.add.at(self._columns["count"], rows, 1)
        if batch.values is not None:
            self._fold_values(rows, batch.timestamps, batch.values)
        if self._registers is not None and batch.distinct is not None:
            items, ranks, present = batch.distinct
            self._registers.update(rows[present], items[present], ranks[present])
        if self._topk is not None and batch.topk is not None:
            topk.fold(self._topk, rows.tolist(), batch.topk)

    def _fold_values(self, rows: Rows, timestamps: Integers, values: Floats) -> None:
        present = np.isfinite(values)
        if not present.all():
            rows, timestamps, values = rows[present], timestamps[present], values[present]
        # A sum may overflow to infinity, exactly as it does in a loop over Python floats.
        with np.errstate(over="ignore", invalid="ignore"):
            for name in self.spec.measures:
                if name in EXTREMES:
                    clock = self._columns[EXTREMES[name].clock]
                    EXTREMES[name].fold(clock, self._columns[name], rows, timestamps, values)
                elif name != "count":
                    measure = MEASURES[name]
                    measure.combine.at(self._columns[name], rows, measure.of(values))
        if self._bins is not None:
            self._bins.count(rows, quantiles.bins(values))

    def _grow(self) -> None:
        """Make every column long enough for the rows of the index; the length doubles."""
        n, capacity = self.n, len(self._dirty)
        if self._topk is not None:
            self._topk.extend({} for _ in range(n - len(self._topk)))
        if n <= capacity:
            return
        added = max(n, 2 * capacity, _ROWS_MIN) - capacity
        self._dirty = np.concatenate((self._dirty, np.zeros(added, np.bool_)))
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate((column, _empty(name, added)))

    # --- snapshots ------------------------------------------------------------------------------

    def take_dirty(self) -> Partials | None:
        """Snapshot of the rows changed since the last call, or None; clears the flags."""
        rows = np.flatnonzero(self._dirty[: self.n])
        if not rows.size:
            return None
        self._dirty[rows] = False
        return self._snapshot(rows)

    def partials(self) -> Partials:
        """Snapshot of every row; leaves the flags alone."""
        return self._snapshot(np.arange(self.n))

    def _snapshot(self, rows: Rows) -> Partials:
        counters = self._topk
        return Partials(
            metric=self.metric,
            start_ms=self.start_ms,
            keys=self.series.keys_of(self.ids[rows]),
            columns={name: column[rows].tobytes() for name, column in self._columns.items()},
            bins=_packed(self._bins, rows),
            registers=_packed(self._registers, rows),
            # Copied, for the counters go on changing while a snapshot must not.
            topk=None if counters is None else [counters[row].copy() for row in rows.tolist()],
            overflowed=self.overflowed,
        )

    def replace(self, partials: Partials) -> Rows:
        """Put a snapshot's rows in the place of those held, and return where they are.

        Those that changed are dirty. Every event raises the count of its row, so a row with the
        same count is the same: a new owner publishes all it has, and little of it is news.

        The caller sees to it that a snapshot is never replaced by an older one. Keys must differ
        from one another, as those of a snapshot do. ValueError if the snapshot keeps other columns
        than this pane; nothing has changed then. `overflowed` is cumulative, so the greatest seen
        is the latest whatever the order in which a store gives the snapshots back.
        """
        self._check(partials)
        rows = self._index.rows_of_all(self.series.add(partials.keys))
        self._grow()
        counts = np.frombuffer(partials.columns["count"], COLUMNS["count"].dtype)
        self._dirty[rows] |= self._columns["count"][rows] != counts
        for name, column in self._columns.items():
            column[rows] = np.frombuffer(partials.columns[name], COLUMNS[name].dtype)
        for held, packed in ((self._bins, partials.bins), (self._registers, partials.registers)):
            if held is not None and packed is not None:
                held.replace(rows, *unpack_sparse(packed, len(rows)))
        if self._topk is not None and partials.topk is not None:
            for row, counters in zip(rows.tolist(), partials.topk, strict=True):
                self._topk[row] = counters.copy()
        self._index.overflowed = max(self._index.overflowed, partials.overflowed)
        return rows

    # --- series ---------------------------------------------------------------------------------

    def renumber(self, renumbered: Ids) -> None:
        """Go by new ids of series, given by old id."""
        self._index.renumber(renumbered)

    def settle(self) -> None:
        """Free what only a pane that still changes needs; it comes back with the next change."""
        self._index.settle()
        self._dirty = self._dirty[: self.n].copy()
        self._columns = {name: column[: self.n].copy() for name, column in self._columns.items()}

    def _check(self, partials: Partials) -> None:
        found = (
            partials.columns.keys(),
            *(part is not None for part in (partials.bins, partials.registers, partials.topk)),
        )
        kept = (self._columns.keys(), self.spec.bins, self.spec.registers, self.spec.topk)
        if found != kept:
            raise ValueError(f"partials of {partials.metric} do not fit a pane of {self.metric}")


def _empty(name: str, n: int) -> Array:
    return np.full(n, COLUMNS[name].initial, COLUMNS[name].dtype)


def _kept(counts: SparseCounts | None, name: str) -> SparseCounts:
    if counts is None:
        raise KeyError(name)
    return counts


def _packed(counts: SparseCounts | None, rows: Rows) -> SparseBytes | None:
    return None if counts is None else pack_sparse(*counts.take(rows))
