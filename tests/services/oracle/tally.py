"""Owns the most, and the least, that an answer may say while events are being sent; no I/O.

The most is all that was sent. The least holds for buckets that an answer claims to be complete,
and leaves out events that came behind the watermark of their partition: those revise a bucket.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.services.oracle.events import EventStream, Flags, Integers, Lines
from tests.services.oracle.fate import Fate, Log
from tests.services.oracle.views import PANE_MS, View

#: Panes before the first event's, for events that are moved back.
PANES_BEFORE = 360
COUNT, SUM, MIN, MAX = range(4)
_EMPTY = np.array([0.0, 0.0, np.inf, -np.inf])

Cells = NDArray[np.float64]


class Tally:
    """What was sent, by view, pane and series; written by one thread, read by any."""

    def __init__(self, stream: EventStream, views: Sequence[View]) -> None:
        self._log = Log(stream)
        first_ms = stream.start_ms - stream.start_ms % PANE_MS - PANES_BEFORE * PANE_MS
        self._parts = {view: _Part(view, first_ms) for view in views}
        self._lock = threading.Lock()

    def add(self, lines: Lines) -> Fate:
        """Count lines that are about to be sent, the next in the order of the log."""
        with self._lock:
            fate = self._log.append(lines)
            for part in self._parts.values():
                part.add(lines, fate)
            return fate

    def late(self, view: View) -> int:
        """How many events of the metric came too late."""
        with self._lock:
            return self._parts[view].late

    def most(self, view: View, starts: Integers, panes: int) -> Cells:
        """(count, sum, min, max) of all events, by bucket and series; a bucket is some panes."""
        with self._lock:
            return self._parts[view].sent.over(starts, panes)

    def tardy(self, view: View, starts: Integers, panes: int) -> Cells:
        """The same of the events that came behind their watermark, but in time."""
        with self._lock:
            return self._parts[view].tardy.over(starts, panes)


class _Part:
    """One view."""

    def __init__(self, view: View, first_ms: int) -> None:
        self._view = view
        self.sent = _Cells(view, first_ms)
        self.tardy = _Cells(view, first_ms)
        self.late = 0

    def add(self, lines: Lines, fate: Fate) -> None:
        taken, late = self._view.split(lines, fate)
        self.late += int(np.count_nonzero(late))
        self.sent.add(lines, taken)
        self.tardy.add(lines, taken & (lines.time_ms < fate.watermark))


class _Cells:
    """(count, sum, min, max) by pane and series, in an array that grows."""

    def __init__(self, view: View, first_ms: int) -> None:
        self._view = view
        self._first_ms = first_ms
        self._cells = np.tile(_EMPTY, (PANES_BEFORE * 2, len(view.keys), 1))

    def add(self, lines: Lines, chosen: Flags) -> None:
        if not chosen.any():
            return
        panes = (lines.time_ms[chosen] - self._first_ms) // PANE_MS
        self._grow(int(panes.max()) + 1)
        index = panes, self._view.series(lines)[chosen]
        values = self._view.value(lines)[chosen].astype(np.float64)
        np.add.at(self._cells[..., COUNT], index, 1)
        np.add.at(self._cells[..., SUM], index, values)
        np.minimum.at(self._cells[..., MIN], index, values)
        np.maximum.at(self._cells[..., MAX], index, values)

    def over(self, starts: Integers, panes: int) -> Cells:
        result = np.tile(_EMPTY, (len(starts), self._cells.shape[1], 1))
        first = (starts - self._first_ms) // PANE_MS
        for row, begin in enumerate(first.tolist()):
            part = self._cells[max(0, begin) : max(0, begin + panes)]
            if len(part):
                result[row, :, :MIN] = part[..., :MIN].sum(axis=0)
                result[row, :, MIN] = part[..., MIN].min(axis=0)
                result[row, :, MAX] = part[..., MAX].max(axis=0)
        return result

    def _grow(self, panes: int) -> None:
        held, series, _ = self._cells.shape
        if panes > held:
            more = np.tile(_EMPTY, (max(panes, 2 * held) - held, series, 1))
            self._cells = np.concatenate((self._cells, more))
