"""Owns the benchmark `workers`: what an event costs by the number of workers of the group."""

from benchmarks.sweeps.engine import AFTER, CPU, RATE, Load, Point, Sweep
from benchmarks.sweeps.mixture import FIRST

COUNTS = (1, 2, 4, 8)
BASE = "1 worker"

METHOD = """\
Here the topic of eight partitions is empty at first: a process with the records ready in memory
fills it as fast as Kafka takes them, once the workers have shared the partitions out and nothing
has moved for three seconds; CPU counts from there on. That holds for the single worker, too.
Workers are processes with folders of their own, as `analytics worker --processes` starts them. CPU
and memory are sums over all of them, and so hold the copies of each other's state that workers keep
(`standby_replicas`, by default one). Events and job are those of `pipeline`. All workers, Kafka and
the producer share the processors of one machine: events/s cannot grow beyond those.
"""


def sweep(load: Load, counts: tuple[int, ...]) -> Sweep:
    """A point for each number of workers."""
    points = tuple(
        Point(
            label=f"{n} worker{'' if n == 1 else 's'}",
            dataset=load.dataset(),
            definitions=(FIRST,),
            workers=n,
            poured=True,
        )
        for n in counts
    )
    return Sweep(points, (CPU, RATE, AFTER), load.repeats, BASE)
