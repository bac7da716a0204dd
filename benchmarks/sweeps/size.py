"""Owns the benchmark `size`: what an event costs by its length."""

from dataclasses import replace

from benchmarks.sweeps.accounts import Accounts
from benchmarks.sweeps.definitions import by_account
from benchmarks.sweeps.engine import CPU, RATE, Load, Point, Sweep

SIZES = (200, 1_000, 4_000, 16_000)
SERIES = 1_000
BASE = "1,000 bytes"
#: A record stays below what a batch of the producer takes.
RECORD_BYTES = 100_000

METHOD = """\
Events of 1,000 accounts in eight partitions; the job: count, sum, min, max and p95 by country and
account in one window that holds all. Every event has the same seven fields, and a longer one as
many further fields of about 40 bytes as fit, three with letters and one with a number by turns,
which no metric reads. A record holds so many events as make about 100,000 bytes, 100 at the most.
"""


def sweep(load: Load, sizes: tuple[int, ...]) -> Sweep:
    """A point for each length in bytes."""
    points = tuple(
        Point(
            label=f"{size:,} bytes",
            dataset=replace(load, framing=framing(load.framing, size)).dataset(
                Accounts(SERIES, size)
            ),
            definitions=(by_account(SERIES, "count", "sum", "min", "max", "p95"),),
        )
        for size in sizes
    )
    return Sweep(points, (CPU, RATE), load.repeats, BASE)


def framing(most: int, size: int) -> int:
    """How many events of a size a record holds."""
    return max(1, min(most, RECORD_BYTES // size))
