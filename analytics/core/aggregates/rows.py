"""Owns which row of a pane a series has, and the limit on their number; it knows no values."""

Key = tuple[str, ...]

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
        """The row of `key`, given one beyond every limit if it has none (for restoring a state)."""
        row = self.get(key)
        if row is None:
            row = self[key] = len(self.keys_by_row)
            self.keys_by_row.append(key)
        return row
