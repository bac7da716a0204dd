"""Owns the benchmark `partitions`: what an event costs by the number of partitions of the topic."""

from benchmarks.sweeps.engine import CPU, PEAK, RATE, Load, Point, Sweep
from benchmarks.sweeps.mixture import FIRST

COUNTS = (1, 2, 4, 8)
BASE = "8 partitions"

METHOD = """\
One worker; events and job are those of `pipeline`. `partials` and the changelogs have as many
partitions as the topic. Events have no key, so each partition holds all 100 series, and more
partitions mean more rows for the same answer: up to 700 each.
"""


def sweep(load: Load, counts: tuple[int, ...]) -> Sweep:
    """A point for each number of partitions."""
    points = tuple(
        Point(
            label=f"{n} partition{'' if n == 1 else 's'}",
            dataset=load.dataset(partitions=n),
            definitions=(FIRST,),
        )
        for n in counts
    )
    return Sweep(points, (CPU, RATE, PEAK), load.repeats, BASE)
