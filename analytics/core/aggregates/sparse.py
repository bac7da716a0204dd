"""Owns sparse integer matrices, row x item -> value, as sorted arrays; items mean nothing to it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates.measures import Integers, Items, Rows

_ITEM_BITS = 32
_ITEM_BIAS = 1 << 31  # shifts an int32 item to [0, 2**32), so that keys sort by (row, item)
_ITEM_MASK = (1 << _ITEM_BITS) - 1

_RECENT_MIN = 4096  # entries below which the recent run stays apart in any case
_RECENT_SHIFT = 5  # beyond them it joins the base run at 2**-5 of its length


Entries = tuple[Rows, NDArray[np.int32], Integers]
"""(row, item, value) of each entry."""

EntriesByRow = tuple[NDArray[np.int32], NDArray[np.int32], Integers]
"""How many entries each row has; their items and values, row after row."""


EntriesByPosition = tuple[Integers, Integers, Integers]
"""(position in the rows asked for, item, value) of each entry."""


@dataclass(slots=True)
class _Run:
    """Entries with unique keys in rising order."""

    keys: Integers
    values: Integers

    @classmethod
    def empty(cls) -> "_Run":
        """A run without entries."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    def absorb(self, keys: Integers, values: Integers, combine: np.ufunc) -> NDArray[np.bool_]:
        """Combine values of unique rising keys into the entries that exist; say which do not."""
        if not self.keys.size:
            return np.ones(len(keys), np.bool_)
        places = self.keys.searchsorted(keys)
        new: NDArray[np.bool_] = self.keys.take(places, mode="clip") != keys
        if new.any():
            places, values = places[~new], values[~new]
        self.values[places] = combine(self.values[places], values)
        return new

    def merged(self, keys: Integers, values: Integers) -> "_Run":
        """This run and further entries, with rising keys that it does not have."""
        if not keys.size:
            return self
        if not self.keys.size:
            return _Run(keys, values)
        total = len(self.keys) + len(keys)
        added = np.searchsorted(self.keys, keys) + np.arange(len(keys))
        kept = np.ones(total, np.bool_)
        kept[added] = False
        merged = _Run(np.empty(total, np.int64), np.empty(total, np.int64))
        merged.keys[added], merged.values[added] = keys, values
        merged.keys[kept], merged.values[kept] = self.keys, self.values
        return merged

    def of_rows(self, rows: Rows) -> tuple[NDArray[np.intp] | slice, Integers]:
        """(index of every entry of `rows`, the position in `rows` that each belongs to)."""
        if not self.keys.size:  # one of the two runs of most small panes
            return slice(0, 0), self.keys
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            # Consecutive rows, a whole pane say, lie side by side: a slice copies nothing.
            ends = np.array([rows[0], rows[-1] + 1], np.int64) << _ITEM_BITS
            whole = slice(*np.searchsorted(self.keys, ends).tolist())
            return whole, (self.keys[whole] >> _ITEM_BITS) - int(rows[0])
        first = np.searchsorted(self.keys, rows << _ITEM_BITS)
        lengths = np.searchsorted(self.keys, (rows + 1) << _ITEM_BITS) - first
        ends = np.cumsum(lengths)
        offsets = np.repeat(first - ends + lengths, lengths)
        return offsets + np.arange(len(offsets)), np.repeat(np.arange(len(rows)), lengths)

    def purged(self) -> "_Run":
        """Without the entries of value 0."""
        held = self.values != 0
        return self if held.all() else _Run(self.keys[held], self.values[held])


class SparseCounts:
    """Positive int64 values by (row, int32 item); absence is 0, neutral to both add and maximum.

    Two sorted runs, as in a log-structured merge tree: existing entries are changed in place, new
    ones go to the small `recent` run, which joins the `base` run once it passes 1/32 of it. A batch
    thus costs its own sort and search plus a small share of a merge, not a copy of everything.
    """

    def __init__(self, combine: np.ufunc = np.add) -> None:
        """An empty matrix whose duplicates are combined by np.add or np.maximum."""
        self._combine = combine
        self._base = _Run.empty()
        self._recent = _Run.empty()

    def __len__(self) -> int:
        """Number of entries."""
        return int(np.count_nonzero(self._base.values) + np.count_nonzero(self._recent.values))

    @property
    def nbytes(self) -> int:
        """Memory of its arrays."""
        return sum(run.keys.nbytes + run.values.nbytes for run in (self._base, self._recent))

    def count(self, rows: Rows, items: Items) -> None:
        """Add 1 to the entry (row, item) of each occurrence; for np.add only.

        Counting needs no order among equals, so the keys themselves are sorted: several times
        faster than an index of them, and than any hashing of them in NumPy.
        """
        if len(rows):
            keys = entry_keys(rows, items)
            keys.sort()
            first = _starts(keys)
            self._put(keys[first], _lengths(first, len(keys)))

    def update(self, rows: Rows, items: Items, values: Integers) -> None:
        """Combine `values`, all > 0, into the entries (row, item); one may occur many times."""
        if not len(rows):
            return
        keys = entry_keys(rows, items)
        if not (keys[1:] > keys[:-1]).all():  # a snapshot of rising rows is in order already
            order = np.argsort(keys)
            keys = keys[order]
            first = _starts(keys)
            keys, values = keys[first], self._combine.reduceat(values[order], first)
        self._put(keys, values)

    def take(self, rows: Rows) -> EntriesByRow:
        """Entries of `rows` in that order, items rising in each: (lengths, items, values)."""
        base, recent = (self._lifted(run, rows) for run in (self._base, self._recent))
        entries = base.merged(recent.keys, recent.values).purged()
        lengths = np.bincount(entries.keys >> _ITEM_BITS, minlength=len(rows)).astype(np.int32)
        return lengths, _items(entries.keys), entries.values

    def entries(self, rows: Rows) -> Iterator[EntriesByPosition]:
        """Entries of `rows` in no order, in as many pieces as it has runs; some may have value 0.

        For whoever only adds them up: several times cheaper than `take`, which merges and counts.
        """
        for run in (self._base, self._recent):
            index, positions = run.of_rows(rows)
            keys = run.keys[index]
            yield positions, (keys & _ITEM_MASK) - _ITEM_BIAS, run.values[index]

    def replace(
        self,
        rows: Rows,
        lengths: NDArray[np.int32] | Integers,
        items: Items,
        values: Integers,
    ) -> None:
        """Make the entries of `rows`, which differ from one another, those that `take` gave."""
        self.drop_rows(rows)
        self.update(np.repeat(rows, lengths), items, values)

    def drop_rows(self, rows: Rows) -> None:
        """Forget the entries of `rows`: they become 0 in place until the runs next merge."""
        for run in (self._base, self._recent):
            run.values[run.of_rows(rows)[0]] = 0

    def _put(self, keys: Integers, values: Integers) -> None:
        """Combine entries with unique rising keys into the runs."""
        for run in (self._base, self._recent):
            new = run.absorb(keys, values, self._combine)
            keys, values = keys[new], values[new]
            if not keys.size:
                return
        self._recent = self._recent.merged(keys, values)
        if len(self._recent.keys) > max(_RECENT_MIN, len(self._base.keys) >> _RECENT_SHIFT):
            recent = self._recent.purged()
            self._base = self._base.purged().merged(recent.keys, recent.values)
            self._recent = _Run.empty()

    @staticmethod
    def _lifted(run: _Run, rows: Rows) -> _Run:
        """The entries of `rows`, with the position in `rows` for a row."""
        index, positions = run.of_rows(rows)
        return _Run(run.keys[index] & _ITEM_MASK | positions << _ITEM_BITS, run.values[index])


def entry_keys(rows: Rows, items: Items) -> Integers:
    """One int64 of each entry that sorts as (row, item) does; rows lie in [0, 2**31)."""
    return (rows.astype(np.int64) << _ITEM_BITS) + (items.astype(np.int64) + _ITEM_BIAS)


def _items(keys: Integers) -> NDArray[np.int32]:
    return ((keys & _ITEM_MASK) - _ITEM_BIAS).astype(np.int32)


def _starts(keys: Integers) -> NDArray[np.intp]:
    """Where a new key begins in rising `keys`, of which there is at least one."""
    changes = np.empty(len(keys), np.bool_)
    changes[0] = True
    np.not_equal(keys[1:], keys[:-1], out=changes[1:])
    return np.flatnonzero(changes)


def _lengths(first: NDArray[np.intp], n: int) -> Integers:
    """How many elements each stretch beginning at `first` has, of n in all."""
    lengths = np.empty(len(first), np.int64)
    np.subtract(first[1:], first[:-1], out=lengths[:-1])
    lengths[-1] = n - first[-1]
    return lengths
