"""Owns the numbering of series keys, shared by all panes of the same dimensions; no values."""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Key = tuple[str, ...]
Ids = NDArray[np.int32]
T = TypeVar("T")

OTHER = "__other__"
"""Stands in every dimension of the series that takes what `max_series` leaves no row for."""


#: Texts that are remembered in order to be shared; those of a wide dimension would never end.
_TEXTS_MAX = 4096


class KeyIndex(dict[Key, int]):
    """Series key -> id; looking up a new key gives it the next id.

    A lookup is one C call for a known key, and falls to `__missing__` only for a new one, which is
    what makes `map(index.__getitem__, keys)` the fastest way from a batch to its ids. An id stays
    valid until `retain`, which renumbers.
    """

    __slots__ = ("_texts", "keys_by_id")

    def __init__(self) -> None:
        """No keys."""
        super().__init__()
        self.keys_by_id: list[Key] = []
        self._texts: dict[str, str] = {}

    def __missing__(self, key: Key) -> int:
        """The next id. What keys have in common, a country say, is kept once for all of them."""
        texts = self._texts
        if len(texts) > _TEXTS_MAX:
            texts.clear()
        key = tuple(map(texts.setdefault, key, key))
        number = self[key] = len(self.keys_by_id)
        self.keys_by_id.append(key)
        return number

    def ids(self, keys: Iterable[Key], n: int) -> Ids:
        """The ids of the first `n` keys; ValueError if there are fewer."""
        return np.fromiter(map(self.__getitem__, keys), np.int32, n)

    def add(self, keys: Sequence[Key]) -> Ids:
        """The ids of `keys`, in their order: `ids` for many new ones."""
        ids, added = numbered(self, keys)
        self.keys_by_id.extend(added)
        return np.array(ids, np.int32)

    def keys_of(self, ids: Ids) -> list[Key]:
        """The keys with these ids."""
        keys = self.keys_by_id
        return [keys[number] for number in ids.tolist()]

    def retain(self, ids: NDArray[np.integer]) -> Ids:
        """Forget every key but those with `ids` (ascending, each once).

        Returns by old id the new one, or -1, for whoever keeps ids. Costs as much as building anew.
        """
        keys = self.keys_by_id
        renumbered = np.full(len(keys), -1, np.int32)
        renumbered[ids] = np.arange(len(ids), dtype=np.int32)
        kept = [keys[number] for number in ids.tolist()]
        self.clear()
        keys.clear()
        self.add(kept)
        return renumbered


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
