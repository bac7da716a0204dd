"""Owns event-time progress: watermarks of a source partition and of several; it reads no clock."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_WATERMARK = -(2**62)
"""Before every time, and far enough from the end of int64 that a duration can be added or taken."""


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """How far one source partition is."""

    watermark_ms: int
    idle: bool  # it has had no events for `idle_ms`, so nobody waits for it


def running(
    timestamps: NDArray[np.int64], highest_ms: int | None, now_ms: int, disorder_ms: int
) -> tuple[NDArray[np.int64], int | None]:
    """(watermark before each event, highest event time after them) of events in log order.

    The watermark is min(highest event time so far, now) - disorder: one event from the future must
    not close the windows of all others. NO_WATERMARK before the first event of a partition, whose
    `highest_ms` is None. An event does not count for its own watermark.
    """
    n = len(timestamps)
    if n == 0:
        return np.zeros(0, np.int64), highest_ms
    highest = np.empty(n + 1, np.int64)
    highest[0] = NO_WATERMARK if highest_ms is None else highest_ms
    highest[1:] = timestamps
    np.maximum.accumulate(highest, out=highest)
    before = np.minimum(highest[:-1], now_ms) - disorder_ms
    if highest_ms is None:
        before[0] = NO_WATERMARK
    return before, int(highest[-1])


def of(highest_ms: int | None, now_ms: int, disorder_ms: int) -> int:
    """The watermark of a source partition between two batches."""
    return NO_WATERMARK if highest_ms is None else min(highest_ms, now_ms) - disorder_ms


def combine(reports: Iterable[SourceProgress]) -> int:
    """The watermark over source partitions: the least of those not idle.

    If all are idle nobody is waited for and the greatest holds; NO_WATERMARK for no partitions.
    """
    known = list(reports)
    active = [report.watermark_ms for report in known if not report.idle]
    if active:
        return min(active)
    return max((report.watermark_ms for report in known), default=NO_WATERMARK)
