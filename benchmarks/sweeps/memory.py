"""Owns the benchmark `memory`: what open series-windows take of a worker's memory."""

from dataclasses import replace

from benchmarks.events import WINDOW_MS
from benchmarks.sweeps.accounts import BYTES_MIN, Accounts
from benchmarks.sweeps.definitions import by_account
from benchmarks.sweeps.engine import (
    A_ROW,
    AFTER,
    BEFORE,
    CPU,
    PEAK,
    Load,
    Point,
    Sweep,
)

SCALARS = ("count", "sum", "min", "max")
FEW = 1_000
#: Of the accounts that come again and again, how many fewer there are: events are as many.
AGAIN = 5

METHOD = f"""\
Each of so many accounts has two events of {BYTES_MIN} bytes, both in one partition of eight, in one
window that stays open; the metric is by country and account: count, sum, min and max, and in one
of the lines p95 as well. In another the accounts are a fifth of them and come that much more often,
in windows of {WINDOW_MS // 1000} s, so that each is in all of these. With few series the same
number of events is read: that is what a worker takes for anything but series. *before* is the
memory of the process (resident set) when it has taken its partitions over and read nothing, *after*
two seconds after a query showed every event, *peak* the most until then. A series-window is held
twice by a single worker, as it is folded and as it is merged, and each of these has the key of a
series once; `memory B/series-window` is all that the process grew by, divided by the series-windows
of the answer.
"""


def sweep(load: Load, series: int) -> Sweep:
    """Few series, then many with scalars, then with a p95 as well."""
    twice = replace(load, events=2 * series)
    again = Accounts(series // AGAIN, BYTES_MIN)
    windows = replace(by_account(again.series, *SCALARS), window_ms=WINDOW_MS)
    points = tuple(
        Point(
            label=f"{n:,} series-windows{', with p95' if 'p95' in functions else ''}",
            dataset=twice.dataset(Accounts(n, BYTES_MIN)),
            definitions=(by_account(n, *functions),),
        )
        for n, functions in (
            (FEW, SCALARS),
            (series, SCALARS),
            (series, (*SCALARS, "p95")),
        )
    )
    label = f"{again.series:,} series in each of some windows"
    points = (*points, Point(label, twice.dataset(again), (windows,)))
    return Sweep(points, (BEFORE, AFTER, PEAK, A_ROW, CPU), load.repeats)
