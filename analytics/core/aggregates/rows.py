"""Owns which row of a pane a series has, and the limit on their number; it knows no values."""

from collections.abc import Sequence
from itertools import count
from typing import TypeVar

Key = tuple[str, ...]
T = TypeVar("T")

OTHER = "__other__"
"""Stands in every dimension of the series that takes what `max_series` leaves no row for."""


class RowIndex(dict[Key, int]):
    """Series key -> row; looking up a new key gives it the next row.

    A lookup is one C call for a known key, and falls to `__missing__` only for a new one, which is
    what makes `map(index.__getitem__, keys)` the fastest way from a batch to its rows. Rows are
    given in the order of lookup, so which keys get one depends on the log alone.
    """

    __slots__ = ("keys_by_row", "max_series", "other", "overflowed")

    def __init__(self, dimensions: int, max_series: int) -> None:
        """An index of keys with `dimensions` parts and at most `max_series` rows beside OTHER."""
        super().__init__()
        self.other: Key = (OTHER,) * dimensions
        self.max_series = max_series
        self.keys_by_row: list[Key] = []
        self.overflowed = 0  # lookups that were sent to OTHER

    def __missing__(self, key: Key) -> int:
        """The row of a key not seen before: a new one, or OTHER's once the rows are used up.

        An overflowing key is not remembered: keeping it would grow without limit, which is what
        `max_series` is there to prevent.
        """
        if key != self.other and len(self) - (self.other in self) >= self.max_series:
            self.overflowed += 1
            return self[self.other]
        return self.add(key)

    def add(self, key: Key) -> int:
        """The row of a key that has none yet, beyond every limit."""
        row = self[key] = len(self.keys_by_row)
        self.keys_by_row.append(key)
        return row

    def add_all(self, keys: Sequence[Key]) -> list[int]:
        """The rows of `keys`, given beyond every limit to those that have none: for a state."""
        rows, added = numbered(self, keys)
        self.keys_by_row.extend(added)
        return rows


def numbered(numbers: dict[T, int], keys: Sequence[T]) -> tuple[list[int], list[T]]:
    """The numbers of `keys`, new ones getting the next, and the new ones in their order.

    Where all are new, or none, it is one pass of C: a state with a million series is read back by
    this, and looking such a key up costs more than all else that is done with it.
    """
    known = len(numbers)
    found = list(map(numbers.setdefault, keys, count(known)))
    added = len(numbers) - known
    if added in (0, len(keys)):
        return found, list(keys) if added else []
    new: list[T] = []
    for place, (key, number) in enumerate(zip(keys, found, strict=True)):
        if number >= known:
            if number == known + place:  # the first of its kind, numbered as if all were new
                numbers[key] = known + len(new)
                new.append(key)
            found[place] = numbers[key]
    return found, new
