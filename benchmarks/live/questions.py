"""Owns the questions of `query`, and which answers to them are right; it must not ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.results import WrongResult
from benchmarks.sweeps.definitions import Definition
from benchmarks.sweeps.truth import Truth

WINDOW_MS = 10_000
LAST = "1m"
TOP = 100
DUMP_ROWS_MAX = 100_000


def metric(series: int) -> Definition:
    """What is asked for: amounts by country and account, in windows of ten seconds."""
    return Definition(
        name="amounts",
        dimensions=("data.country", "data.account"),
        aggregations=("count", "sum", "min", "max", "p95"),
        window_ms=WINDOW_MS,
        max_series=series,
    )


@dataclass(frozen=True, slots=True)
class Load:
    """Who asks: so many clients at a time, each again at once or every `every_ms`."""

    clients: int
    every_ms: int = 0

    @property
    def label(self) -> str:
        """What tables call it."""
        if self.clients == 1:
            return "1 client"
        pause = f" every {self.every_ms / 1000:g} s" if self.every_ms else ""
        return f"{self.clients} clients{pause}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about the last minute, and who asks it."""

    name: str
    document: Mapping[str, object]
    loads: tuple[Load, ...]


DASHBOARD = (Load(1), Load(32), Load(32, every_ms=1000))
_LAST = {"metrics": ["amounts"], "timeRange": {"last": LAST}}
QUESTIONS = (
    Asked(
        "by country",
        {
            **_LAST,
            "aggregations": ["count", "sum", "p95"],
            "groupBy": ["country"],
            "step": f"{WINDOW_MS // 1000}s",
        },
        DASHBOARD,
    ),
    Asked(
        "top 100",
        {
            **_LAST,
            "aggregations": ["sum", "count"],
            "groupBy": ["account"],
            "orderBy": [{"field": "amounts.sum", "direction": "desc"}],
            "limit": TOP,
        },
        DASHBOARD,
    ),
    Asked(
        "dump",
        {
            **_LAST,
            "aggregations": ["count", "sum", "p95"],
            "groupBy": ["country", "account"],
            "limit": DUMP_ROWS_MAX,
        },
        (Load(1),),
    ),
)


def check_top(rows: Sequence[Sequence[Any]], truth: Truth) -> None:
    """Raise WrongResult unless `top 100` over all cells of the truth names the greatest sums."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for (*_, account), group in truth.items():
        sums[account] = sums.get(account, 0.0) + sum(group.values)
        counts[account] = counts.get(account, 0) + len(group.values)
    greatest = sorted(sums.values(), reverse=True)[:TOP]
    if len(rows) != len(greatest):
        raise WrongResult(f"top {TOP}: {len(rows)} rows instead of {len(greatest)}")
    for (_, account, found, count), true in zip(rows, greatest, strict=True):
        # The account's own sum, and that of its place; equal sums may stand in any order.
        for expected in (sums.get(account, 0.0), true):
            if abs(found - expected) > 1e-9 * expected or count != counts[account]:
                raise WrongResult(f"top {TOP}: {account} has {found} of {count}, not {expected}")
