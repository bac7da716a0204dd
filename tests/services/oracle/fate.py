"""Owns what becomes of a line: refused, a duplicate, or an event, late for a metric or not.

These are the rules of the documentation in arithmetic of their own, for lines in log order:

- The watermark of a partition is the latest event time in it so far, less `DISORDER_MS`.
- A window takes events until the watermark *before* them has passed its end and its grace.
- What is refused or a duplicate moves no watermark.
"""

from typing import NamedTuple

import numpy as np

from tests.services.oracle.events import EventStream, Flags, Integers, Lines
from tests.services.workers import PARTITIONS

DISORDER_MS = 1_000
_NEVER = -(2**60)


class Fate(NamedTuple):
    """By line; ``watermark`` is that of its partition before it."""

    refused: Flags
    duplicate: Flags
    watermark: Integers

    @property
    def events(self) -> Flags:
        """Which lines are events, for each metric to take or to find late."""
        return ~(self.refused | self.duplicate)


class Log:
    """The partitions of a stream, as lines are appended to them."""

    def __init__(self, stream: EventStream) -> None:
        """Nothing is known of any partition, and then nothing is late."""
        self._future_from_ms = stream.future_from_ms
        self._repeats_count = stream.mix.repeats_count
        self._highest = np.full(PARTITIONS, _NEVER)

    def append(self, lines: Lines) -> Fate:
        """What becomes of the next lines, in the order they are on each partition."""
        refused = (lines.kind > 0) | (lines.time_ms >= self._future_from_ms)
        duplicate = ~refused & lines.again & (not self._repeats_count)
        times = np.where(refused | duplicate, _NEVER, lines.time_ms)
        watermark = np.empty(len(lines), np.int64)
        partition = lines.partition
        for number in np.unique(partition).tolist():
            mine = np.flatnonzero(partition == number)
            highest = np.maximum.accumulate(np.concatenate(([self._highest[number]], times[mine])))
            watermark[mine] = highest[:-1] - DISORDER_MS
            self._highest[number] = highest[-1]
        return Fate(refused, duplicate, watermark)
