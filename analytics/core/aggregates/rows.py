"""Owns which row of a pane a series has, and the limit on their number; it knows no values."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates.keys import OTHER, Ids, Key, KeyIndex
from analytics.core.aggregates.measures import Rows

Number = TypeVar("Number", bound=np.generic)

_NO_ROW = -1


class RowIndex:
    """Series id -> row of one pane.

    Rows are given in the order of the log, which alone decides which series get one. One that
    overflows is not remembered: that would grow without limit, which is what `max_series` is there
    to prevent.
    """

    __slots__ = ("_ids", "_rows_by_id", "keys", "max_series", "n", "other", "overflowed")

    def __init__(self, keys: KeyIndex, dimensions: int, max_series: int) -> None:
        """No rows yet, and at most `max_series` beside that of OTHER; `keys` gives the ids."""
        self.keys = keys
        self.other: Key = (OTHER,) * dimensions
        self.max_series = max_series
        self.n = 0
        """Number of rows."""
        self.overflowed = 0
        """Events that were sent to OTHER."""
        self._ids = np.empty(0, np.int32)
        self._rows_by_id = np.empty(0, np.int32)

    @property
    def ids(self) -> Ids:
        """The series id of each row: a view."""
        return self._ids[: self.n]

    def rows(self, ids: Ids) -> Rows:
        """The row of each event, in log order; new series get the next rows, or OTHER's."""
        rows = self._table()[ids]
        new = np.flatnonzero(rows == _NO_ROW)
        if new.size:
            self._place(ids[new])
            rows = self._table()[ids]
            rows[rows == _NO_ROW] = self._rows_by_id[self.keys.get(self.other, 0)]
        return rows.astype(np.intp)

    def rows_of_all(self, ids: Ids) -> Rows:
        """The rows of series that differ from one another, new ones beyond every limit."""
        rows = self._table()[ids]
        self._append(ids[rows == _NO_ROW])
        return self._rows_by_id[ids].astype(np.intp)

    def renumber(self, renumbered: Ids) -> None:
        """Go by new ids, given by old id."""
        self._ids = renumbered[self.ids]
        self.settle()

    def settle(self) -> None:
        """Free what is needed to find rows, until it is needed again."""
        self._ids = self.ids.copy()
        self._rows_by_id = np.empty(0, np.int32)

    def _place(self, ids: Ids) -> None:
        """Give rows to the series, all without one, of events in log order."""
        distinct, first, events = np.unique(ids, return_index=True, return_counts=True)
        order = np.argsort(first)
        new, events = distinct[order], events[order]
        other = self.keys.get(self.other)
        named = new == (_NO_ROW if other is None else other)
        has_other = other is not None and bool(self._rows_by_id[other] != _NO_ROW)
        room = max(0, self.max_series - (self.n - has_other))
        fits = named | (np.cumsum(~named) <= room)
        if fits.all():
            self._append(new)
            return
        self.overflowed += int(events[~fits].sum())
        other = self.keys[self.other]
        # OTHER's row comes where the first event was sent to it, or was named so.
        new[~fits] = other
        first_other = int(np.argmax(new == other))
        kept = new != other
        kept[first_other] = not has_other
        self._append(new[kept])

    def _append(self, ids: Ids) -> None:
        """The next rows, for series that have none."""
        n = self.n + len(ids)
        table = self._table()
        table[ids] = np.arange(self.n, n, dtype=np.int32)
        self._ids = grown(self._ids, n)
        self._ids[self.n : n] = ids
        self.n = n

    def _table(self) -> Ids:
        """Row by id for every id given so far, _NO_ROW where there is none."""
        known, needed = len(self._rows_by_id), len(self.keys)
        if known < needed:
            self._rows_by_id = grown(self._rows_by_id, needed)
            if known:
                self._rows_by_id[known:] = _NO_ROW
            else:
                self._rows_by_id[:] = _NO_ROW
                self._rows_by_id[self.ids] = np.arange(self.n, dtype=np.int32)
        return self._rows_by_id


def grown(array: NDArray[Number], n: int) -> NDArray[Number]:
    """The array itself if `n` elements fit, else a copy of at least twice the length.

    What stands in the new elements is undefined.
    """
    if n <= len(array):
        return array
    longer = np.empty(max(n, 2 * len(array)), array.dtype)
    longer[: len(array)] = array
    return longer
