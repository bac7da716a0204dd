"""Owns the numbering of a metric's series and their dictionary-coded dimensions, not values."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates.keys import Key, KeyIndex, numbered
from analytics.core.aggregates.rows import grown

Codes = NDArray[np.int32]

_SERIES_MIN = 16


class SeriesIndex:
    """Series keys as small integers, and each dimension as codes into a dictionary of its texts.

    A question is then decided once for each text or series, never for each row: ids and codes only
    index arrays. An id stays valid until `retain`, which renumbers.
    """

    def __init__(self, dimensions: int) -> None:
        """An empty index of keys with `dimensions` parts."""
        self.index = KeyIndex()
        self._dictionaries = tuple(_Dictionary() for _ in range(dimensions))

    def __len__(self) -> int:
        """How many series."""
        return len(self.index)

    @property
    def keys(self) -> list[Key]:
        """The key of every series, by id. The index's own list: read it, do not change it."""
        return self.index.keys_by_id

    def key(self, series: int) -> Key:
        """The key of the series with this id."""
        return self.index.keys_by_id[series]

    def add(self, keys: Sequence[Key]) -> Codes:
        """The ids of `keys`, in their order; new keys get the next ids."""
        return self.index.add(keys)

    def codes(self, dimension: int) -> Codes:
        """The code of every series in a dimension: `labels(dimension)[code]` is its text."""
        return self._dictionary(dimension).codes

    def labels(self, dimension: int) -> list[str]:
        """The texts of a dimension, by code. The index's own list: read it, do not change it."""
        return self._dictionary(dimension).labels

    def ranks(self, dimension: int) -> NDArray[np.int64]:
        """By code, the place of a text among the sorted texts of its dimension."""
        return self._dictionary(dimension).ranks()

    def retain(self, ids: NDArray[np.integer]) -> Codes:
        """Forget every series but `ids` (ascending, each once).

        Returns by old id the new one, or -1, for whoever keeps ids. Costs as much as building anew.
        """
        renumbered = self.index.retain(ids)
        self._dictionaries = tuple(_Dictionary() for _ in self._dictionaries)
        return renumbered

    def _dictionary(self, dimension: int) -> "_Dictionary":
        """The dictionary of a dimension, brought up to all the series there are."""
        dictionary = self._dictionaries[dimension]
        if dictionary.n < len(self.index):
            dictionary.extend([key[dimension] for key in self.index.keys_by_id[dictionary.n :]])
        return dictionary


class _Dictionary:
    """The texts of one dimension and the code of each series, in an array that doubles."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self._codes_by_label: dict[str, int] = {}
        self._codes = np.empty(_SERIES_MIN, np.int32)
        self.n = 0
        self._ranks = np.empty(0, np.int64)

    @property
    def codes(self) -> Codes:
        return self._codes[: self.n]

    def extend(self, texts: Sequence[str]) -> None:
        codes, added = numbered(self._codes_by_label, texts)
        self.labels.extend(added)
        n = self.n + len(codes)
        self._codes = grown(self._codes, n)
        self._codes[self.n : n] = codes
        self.n = n

    def ranks(self) -> NDArray[np.int64]:
        # Sorting is worth keeping: texts are added rarely, and every question with groups asks.
        if len(self._ranks) != len(self.labels):
            order = sorted(range(len(self.labels)), key=self.labels.__getitem__)
            self._ranks = np.empty(len(order), np.int64)
            self._ranks[order] = np.arange(len(order))
        return self._ranks
