"""Owns the benchmark `cardinality`: what an event costs by the number of series."""

from benchmarks.sweeps.accounts import Accounts
from benchmarks.sweeps.definitions import by_account
from benchmarks.sweeps.engine import AFTER, CPU, LATE, PEAK, RATE, Load, Point, Sweep

SERIES = (10, 1_000, 100_000, 1_000_000)
BASE = "1,000 series"
FUNCTIONS = ("count", "sum", "min", "max", "p95")

METHOD = """\
The same number of events at every point, of so many accounts; the job: count, sum, min, max and p95
of an amount by country and account (a country has many accounts, an account one country) in one
window that holds all events. Every account comes once before any comes again, each time round in
another order, and all of its events are in one partition of eight, as a producer with a key sends
them; with `--spread` any event may be in any partition, so that each of them holds most series.

So with as many events as twice the series, half of all events open a series-window and the other
half each change one that is open; hardly two changes meet in a flush, which is the worst that many
series can do. *from half on* is the cost between the moments at which half and nearly all of the
events were counted, so with twice as many events as series the part in which nearly all
series-windows are open. With few series nearly every event changes one of few rows. *memory after*
is the resident memory of the process two seconds after the last event was counted, *peak* the most
until then.
"""


def sweep(load: Load, series: tuple[int, ...], event_bytes: int, *, spread: bool) -> Sweep:
    """A point for each number of series."""
    points = tuple(
        Point(
            label=f"{n:,} series",
            dataset=load.dataset(Accounts(n, event_bytes, keyed=not spread)),
            definitions=(by_account(n, *FUNCTIONS),),
        )
        for n in series
    )
    return Sweep(points, (CPU, LATE, RATE, AFTER, PEAK), load.repeats, BASE)
