"""The only module that reads a clock; everything else is given the time."""

import time


def now_ms() -> int:
    """Wall-clock time in epoch milliseconds, UTC."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Seconds on a clock that never goes back; only differences mean anything."""
    return time.monotonic()
