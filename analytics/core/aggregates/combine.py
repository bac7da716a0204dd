"""Owns the merge of many panes' rows into groups, and its finished numbers; it changes no pane."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike

from analytics.core.aggregates import distinct, quantiles, topk
from analytics.core.aggregates.keys import Key
from analytics.core.aggregates.measures import (
    COLUMNS,
    EXTREMES,
    MEASURES,
    Array,
    Floats,
    Integers,
    Rows,
    columns_of,
)
from analytics.core.aggregates.pane import Pane
from analytics.core.aggregates.partials import Partials, SparseBytes, pack_sparse
from analytics.core.aggregates.sparse import Entries, EntriesByRow, SparseCounts
from analytics.core.aggregates.topk import Counters, pruned

Part = tuple[Pane, Rows, Rows]
"""A pane, some of its rows, and the group that each of these goes to."""


def merge(parts: Sequence[Part], n_groups: int) -> "Combined":
    """Merge rows of panes, of any pane and source partition, into groups 0 .. n_groups - 1.

    Every column merges by the operation it folds by, so merging is associative and commutative
    (float sums up to rounding). It is not idempotent: what makes a replay harmless is the pane,
    where a snapshot replaces its row.
    """
    return Combined(parts, n_groups)


class Combined:
    """Merged aggregates of `n_groups` groups, each computed when it is first asked for.

    Every array is n_groups long, and nan says that no event of the group had a value. KeyError for
    an aggregate that the panes do not keep. The panes must not change while this is in use.
    """

    def __init__(self, parts: Sequence[Part], n_groups: int) -> None:
        """See `merge`."""
        self.n_groups = n_groups
        self._parts = tuple(parts)
        self._columns: dict[str, Array] = {}

    # --- finished numbers -----------------------------------------------------------------------

    @property
    def count(self) -> Integers:
        """Events."""
        return self.column("count")

    @property
    def values(self) -> Integers:
        """Events with a value."""
        return self.column("values")

    @property
    def sum(self) -> Floats:
        """Sum of the values."""
        return np.where(self.values > 0, self.column("sum"), np.nan)

    @property
    def avg(self) -> Floats:
        """Arithmetic mean of the values."""
        return self._per_value("sum")

    @property
    def stddev(self) -> Floats:
        """Standard deviation of the population, sqrt(E[x^2] - E[x]^2).

        The difference loses digits where the deviation is small beside the mean (all of them at
        about 1e-8 of it); what rounding makes negative is 0.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            variance = self._per_value("sum_sq") - np.square(self._per_value("sum"))
            return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    @property
    def min(self) -> Floats:
        """Least value."""
        return _known(self.column("min"))

    @property
    def max(self) -> Floats:
        """Greatest value."""
        return _known(self.column("max"))

    @property
    def first(self) -> Floats:
        """Value of the least timestamp; where partitions tie, the least of theirs."""
        return self.column("first")

    @property
    def last(self) -> Floats:
        """Value of the greatest timestamp; where partitions tie, the greatest of theirs."""
        return self.column("last")

    @property
    def distinct(self) -> Floats:
        """Estimated number of distinct texts; 0 where there are none."""
        return distinct.estimates(*self._registers, self.n_groups)

    def quantiles(self, qs: Sequence[float]) -> Floats:
        """float64[n_groups, len(qs)]: the q-quantiles of the values, 0 <= q <= 1."""
        return quantiles.quantiles(*self._bins, self.n_groups, qs)

    def topk(self, k: int) -> list[list[tuple[str, int]]]:
        """The k most frequent texts of each group with their counts, most frequent first."""
        return [topk.greatest(counters, k) for counters in self._counters]

    # --- merged partials ------------------------------------------------------------------------

    def column(self, name: str) -> Array:
        """A stored column, merged; a group without rows has its initial value."""
        if name not in self._columns:
            self._columns |= self._merged(name)
        return self._columns[name]

    def partials(
        self, metric: str, start_ms: int, keys: Sequence[Key], *, topk: bool = True
    ) -> Partials:
        """The groups as rows of ONE pane, named by `keys`: what a coarser resolution stores.

        Top-k counters are pruned to CAPACITY, or they would grow with the number of panes; they
        are left out without `topk`.
        ValueError if there are no panes, for then it is not known which columns they keep.
        """
        if not self._parts:
            raise ValueError("no panes were merged, so their columns are not known")
        panes = {id(pane): pane for pane, _, _ in self._parts}.values()
        spec = self._parts[0][0].spec
        return Partials(
            metric=metric,
            start_ms=start_ms,
            keys=list(keys),
            columns={name: self.column(name).tobytes() for name in columns_of(spec.measures)},
            bins=_packed(np.add, self._bins, self.n_groups) if spec.bins else None,
            registers=_packed(np.maximum, self._registers, self.n_groups)
            if spec.registers
            else None,
            topk=list(map(pruned, self._counters)) if spec.topk and topk else None,
            overflowed=sum(pane.overflowed for pane in panes),
        )

    # --- inside ---------------------------------------------------------------------------------

    def _merged(self, name: str) -> dict[str, Array]:
        """The merged column, and with an extreme or its clock the other of the pair."""
        for value, extreme in EXTREMES.items():
            if name in (value, extreme.clock):
                pair = extreme.merge(
                    self._groups,
                    self._gathered(extreme.clock),
                    self._gathered(value),
                    self.n_groups,
                )
                return dict(zip((extreme.clock, value), pair, strict=True))
        measure = MEASURES[name]
        merged = np.full(self.n_groups, measure.initial, measure.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            measure.combine.at(merged, self._groups, self._gathered(name))
        return {name: merged}

    @cached_property
    def _groups(self) -> Rows:
        return _joined((groups for _, _, groups in self._parts), np.intp)

    def _gathered(self, name: str) -> Array:
        columns = (pane.column(name)[rows] for pane, rows, _ in self._parts)
        return _joined(columns, COLUMNS[name].dtype)

    def _per_value(self, name: str) -> Floats:
        """A summed column over the number of values."""
        return np.asarray(self.column(name) / np.where(self.values > 0, self.values, np.nan))

    @cached_property
    def _bins(self) -> Entries:
        return self._entries(Pane.bins)

    @cached_property
    def _registers(self) -> Entries:
        return self._entries(Pane.registers)

    def _entries(self, of: Callable[[Pane, Rows], EntriesByRow]) -> Entries:
        """(groups, items, values) of every sketch entry; equal items of a group are not yet one."""
        taken = [(of(pane, rows), groups) for pane, rows, groups in self._parts]
        return (
            _joined((np.repeat(groups, lengths) for (lengths, _, _), groups in taken), np.intp),
            _joined((items for (_, items, _), _ in taken), np.int32),
            _joined((values for (_, _, values), _ in taken), np.int64),
        )

    @cached_property
    def _counters(self) -> list[Counters]:
        merged: list[Counters] = [{} for _ in range(self.n_groups)]
        for pane, rows, groups in self._parts:
            for row, group in zip(rows.tolist(), groups.tolist(), strict=True):
                topk.add(merged[group], pane.topk(row))
        return merged


def _joined(arrays: Iterable[Array], dtype: DTypeLike) -> Array:
    """The arrays in one; an empty one where there are none."""
    return np.concatenate((np.zeros(0, dtype), *arrays), dtype=dtype)


def _known(values: Floats) -> Floats:
    """Finite values; the initial infinity of a group without values becomes nan."""
    return np.where(np.isfinite(values), values, np.nan)


def _packed(combine: np.ufunc, entries: Entries, n_groups: int) -> SparseBytes:
    counts = SparseCounts(combine)
    counts.update(*entries)
    return pack_sparse(*counts.take(np.arange(n_groups)))
