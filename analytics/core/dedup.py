"""Owns the ids that a source partition remembers, and so which of its events are duplicates; pure.

An application that sends again what it got no answer for writes an event twice: the same `id` at
another offset. Within the newest ids such an event is recognised. Which ids those are is a function
of the log alone: they are counted in log order, and no clock and no cut between batches matters.

Ids are remembered in chunks. A chunk that is full is closed and the next one begun; then the oldest
chunks are forgotten, as long as those that are left hold ``limit`` ids. So the newest ``limit`` ids
are always remembered, and never more than two chunks beyond them.

    ids of the log    1 2 3 4 │ 5 6 7 8 │ 9 10 11 12 │ 13 14 …      chunks of 4, a limit of 6
    remembered               [ 5 6 7 8   9 10 11 12    13 14 ]      1 to 4 went when 12 came

On the changelog a chunk is a pane of the metric `IDS`, which no metric can be called, that starts
at its number; its rows are ids. It is never published.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from analytics.core.aggregates.pane import Partials

IDS: Final = "#ids"
"""Stands in the place of a metric's key, which is `name@version`."""

CHUNK_IDS: Final = 1_024
"""Small, as what was written of a chunk is now and then written again until it is full."""

ROW_IDS: Final = 256
"""Ids in one row, a key without aggregates: as many tuples fewer than with one id a row."""


class Chunk:
    """Consecutive ids of the log that were new when they came, oldest first."""

    __slots__ = ("_taken", "ids", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        # A tuple of texts, unlike a list, is nothing that the garbage collector walks through.
        self.ids: tuple[str, ...] = ()
        self._taken = 0

    @property
    def n(self) -> int:
        """Number of ids."""
        return len(self.ids)

    def partials(self) -> Partials:
        """Every id, as a segment holds them."""
        return self._rows(0)

    def take_dirty(self) -> Partials:
        """The ids that came since the last call."""
        first, self._taken = self._taken, self.n
        return self._rows(first)

    def _rows(self, first: int) -> Partials:
        starts = range(first, self.n, ROW_IDS)
        rows = [self.ids[start : start + ROW_IDS] for start in starts]
        return Partials(metric=IDS, start_ms=self.number, keys=rows, columns={})


class RememberedIds:
    """The newest ids of one source partition; a limit of 0 remembers none.

    ``first`` is the number of the oldest chunk that counts. Chunks before it may still be found on
    a changelog; a number is never used again.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.first = 0
        self._ids: set[str] = set()
        self._chunks: deque[Chunk] = deque()
        self._changed: dict[int, Chunk] = {}
        self._forgotten: list[int] = []

    @property
    def n(self) -> int:
        """Number of ids remembered."""
        return len(self._ids)

    def take_in(self, ids: Sequence[str]) -> list[int]:
        """Remember ``ids``, in log order; the places of those that were remembered already.

        What is remembered already is not moved to the end: it goes as if it had not come again.
        """
        repeated: list[int] = []
        begin = 0
        while begin < len(ids):
            chunk = self._open()
            # However many of them are new, the chunk is not full before the last one.
            piece = ids[begin : begin + CHUNK_IDS - chunk.n]
            places = self._add(piece, chunk)
            repeated += [begin + place for place in places]
            begin += len(piece)
            if chunk.n >= CHUNK_IDS:
                self._forget()
        return repeated

    def _add(self, piece: Sequence[str], chunk: Chunk) -> list[int]:
        """Add to the chunk what is new; the places of the rest. Without a repeat it is all in C."""
        before = len(self._ids)
        known = self._ids.intersection(piece)
        self._ids.update(piece)
        added = len(self._ids) - before
        if added:
            self._changed[chunk.number] = chunk
        if added == len(piece):
            chunk.ids += tuple(piece)
            return []
        fresh, repeated = [], []
        for place, text in enumerate(piece):
            if text in known:
                repeated.append(place)
            else:
                known.add(text)
                fresh.append(text)
        chunk.ids += tuple(fresh)
        return repeated

    def _open(self) -> Chunk:
        """The chunk that takes the next id."""
        if self._chunks and self._chunks[-1].n < CHUNK_IDS:
            return self._chunks[-1]
        number = self._chunks[-1].number + 1 if self._chunks else self.first
        self._chunks.append(Chunk(number))
        return self._chunks[-1]

    def _forget(self) -> None:
        """Forget the oldest chunks that the limit does not ask for.

        Only full ones stand for it: so nothing more goes where a chunk is restored half full.
        """
        newest = self._chunks[-1].n if self._chunks else 0
        full = self.n - (newest if newest < CHUNK_IDS else 0)
        while self._chunks and (full - self._chunks[0].n >= self.limit or not self.limit):
            oldest = self._chunks.popleft()
            full -= oldest.n
            self._ids.difference_update(oldest.ids)
            self._changed.pop(oldest.number, None)
            self._forgotten.append(oldest.number)
            self.first = oldest.number + 1

    # --- what a flush writes, and what it takes to begin there ------------------------------------

    def take_changes(self) -> list[tuple[Chunk, Partials]]:
        """Chunks with ids that came since the last call, and those ids."""
        changes = [(chunk, chunk.take_dirty()) for chunk in self._changed.values()]
        self._changed.clear()
        return changes

    def take_forgotten(self) -> list[int]:
        """The numbers of chunks that were forgotten since the last call."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def restore(self, first: int, rows: Iterable[Partials]) -> None:
        """Become what wrote this; ids may come more than once within a chunk.

        What the limit, another one perhaps, does not ask for is forgotten at once. With one that
        has grown, what was forgotten stays so: less than the limit is remembered for a while.
        """
        self.first = first
        found: dict[int, list[Partials]] = {}
        for partials in rows:
            found.setdefault(partials.start_ms, []).append(partials)
        for number in sorted(found):
            if number < first:
                self._forgotten.append(number)
                continue
            chunk = Chunk(number)
            keys = (key for partials in found[number] for key in partials.keys)
            chunk.ids = tuple(dict.fromkeys(chain.from_iterable(keys)))
            chunk.take_dirty()
            self._ids.update(chunk.ids)
            self._chunks.append(chunk)
        self._forget()
