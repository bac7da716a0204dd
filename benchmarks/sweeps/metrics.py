"""Owns the benchmark `metrics`: what an event costs by the number of metrics that are defined."""

from benchmarks.sweeps.engine import CPU, PEAK, RATE, Load, Point, Sweep
from benchmarks.sweeps.mixture import mixture

COUNTS = (1, 10, 50)
BASE = "1 metric"

METHOD = """\
The events are those of `pipeline`, and so is the first metric: count, sum, min, max and p95 by type
and country in windows of ten seconds. The others (`benchmarks/sweeps/mixture.py`) are a mixture by
one to three of nine dimensions, up to 765 series each: count, sum, min, max and average, one in
five with p95, one of them with distinct users and one with the most frequent carriers; half of them
with a condition; windows of ten seconds, a minute and five. So fifty metrics read eleven fields of
an event instead of three, besides the timestamp.
"""


def sweep(load: Load, counts: tuple[int, ...]) -> Sweep:
    """A point for each number of metrics."""
    points = tuple(
        Point(
            label=BASE if n == 1 else f"{n} metrics",
            dataset=load.dataset(),
            definitions=mixture(n),
        )
        for n in counts
    )
    return Sweep(points, (CPU, RATE, PEAK), load.repeats, BASE)
