"""Owns percentiles over many panes at once, by dense histograms; it knows no question and no names.

The sketches of a pane are sparse, but the values of one metric lie close together, so all bins
that occur fit in a small matrix, group x bin. Adding to it costs one pass over the entries, where
sorting them costs several, and memory is bounded by the matrix, not by how many panes are read.
"""

from collections.abc import Sequence

import numpy as np

from analytics.core.aggregates.combine import Part, merge
from analytics.core.aggregates.measures import Floats, Integers
from analytics.core.aggregates.quantiles import values_of

CELLS_MAX = 4_000_000  # of one matrix, 32 MB: beyond, the groups are done in two halves

# Below so many events a group, clearing and summing its mostly empty line of the matrix costs more
# than sorting the few entries it has.
_EVENTS_OF_DENSE_GROUP = 64


class _Histograms:
    """Counts by group and bin, for the range of bins met so far."""

    def __init__(self, n_groups: int) -> None:
        self.n_groups = n_groups
        self.lowest = 0
        self.counts = np.zeros((n_groups, 0), np.int64)

    def add(self, part: Part) -> bool:
        """Add the sketches of a part; False, with nothing done, where the matrix would not do."""
        pane, rows, groups = part
        pieces = [piece for piece in pane.bin_entries(rows) if len(piece[1])]
        for _, items, _ in pieces:
            if not self._cover(int(items.min()), int(items.max())):
                return False
        width = self.counts.shape[1]
        for positions, items, values in pieces:
            index = (groups * width - self.lowest)[positions]
            index += items
            np.add.at(self.counts.reshape(-1), index, values)
        return True

    def _cover(self, lowest: int, highest: int) -> bool:
        """Widen the range of bins to hold [lowest, highest]."""
        width = self.counts.shape[1]
        if width:
            lowest, highest = min(lowest, self.lowest), max(highest, self.lowest + width - 1)
        wider = highest - lowest + 1
        if wider == width:
            return True
        if wider * self.n_groups > CELLS_MAX and self.n_groups > 1:
            return False
        counts = np.zeros((self.n_groups, wider), np.int64)
        if width:
            counts[:, self.lowest - lowest : self.lowest - lowest + width] = self.counts
        self.lowest, self.counts = lowest, counts
        return True

    def quantiles(self, qs: Sequence[float]) -> Floats:
        """The value at rank floor(q (n - 1)) of each group, as aggregates.quantiles defines it."""
        width = self.counts.shape[1]
        upto: Integers = np.cumsum(self.counts, dtype=np.int64)
        ends = np.concatenate(([0], upto[width - 1 :: width])) if width else np.zeros(1, np.int64)
        totals = np.diff(ends) if width else np.zeros(self.n_groups, np.int64)
        filled = np.flatnonzero(totals)
        result = np.full((self.n_groups, len(qs)), np.nan)
        for column, q in enumerate(qs):
            ranks = np.floor(q * (totals[filled] - 1)).astype(np.int64)
            places = np.searchsorted(upto, ends[filled] + ranks, side="right")
            result[filled, column] = values_of(places - filled * width + self.lowest)
        return result


def percentiles(parts: Sequence[Part], n_groups: int, qs: Sequence[float]) -> Floats:
    """float64[n_groups, len(qs)]: the quantiles `qs` of each group, nan for one without values.

    Equal to `combine.merge(parts, n_groups).quantiles(qs)`.
    """
    events = sum(int(pane.column("count")[rows].sum()) for pane, rows, _ in parts)
    if events < _EVENTS_OF_DENSE_GROUP * n_groups:
        return merge(parts, n_groups).quantiles(qs)
    histograms = _Histograms(n_groups)
    if all(map(histograms.add, parts)):
        return histograms.quantiles(qs)
    half = n_groups // 2
    return np.concatenate(
        [
            percentiles(_between(parts, first, last), last - first, qs)
            for first, last in ((0, half), (half, n_groups))
        ]
    )


def _between(parts: Sequence[Part], first: int, last: int) -> list[Part]:
    """The rows that go to the groups [first, last), which are numbered from 0 again."""
    kept: list[Part] = []
    for pane, rows, groups in parts:
        chosen = (groups >= first) & (groups < last)
        if chosen.any():
            kept.append((pane, rows[chosen], groups[chosen] - first))
    return kept
