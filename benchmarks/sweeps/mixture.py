"""Owns fifty metrics such as a shop would define over its orders; it must not measure them."""

from benchmarks.events import WINDOW_MS
from benchmarks.sweeps.definitions import Condition, Definition

METRICS_MAX = 50
#: The metric of `pipeline`: what the others are added to.
FIRST = Definition(
    name="amounts",
    dimensions=("type", "data.country"),
    aggregations=("count", "sum", "min", "max", "p95"),
    window_ms=WINDOW_MS,
)

_DIMENSIONS = (
    ("type",),
    ("data.country",),
    ("data.category", "type"),
    ("data.brand",),
    ("data.warehouse", "data.carrier"),
    ("source",),
    ("type", "data.country", "data.carrier"),
    ("data.campaign",),
    ("data.category",),
    ("data.quantity", "type"),
    ("source", "type"),
    ("data.warehouse", "type", "data.quantity"),
    ("data.carrier",),
)
_CONDITIONS = (
    None,
    Condition('type == "purchase"', lambda event: event["type"] == "purchase"),
    None,
    Condition("data.amount > 250", lambda event: event["data"]["amount"] > 250),
    Condition(
        'data.country in ["DE", "FR", "GB"]',
        lambda event: event["data"]["country"] in ("DE", "FR", "GB"),
    ),
    None,
    Condition(
        'type != "login" and data.quantity >= 3',
        lambda event: event["type"] != "login" and event["data"]["quantity"] >= 3,
    ),
)
_WINDOWS_MS = (10_000, 60_000, 10_000, 300_000)
_AGGREGATIONS = (
    ("count",),
    ("count", "sum", "avg"),
    ("count", "sum", "min", "max", "avg"),
    ("count", "sum"),
    ("count", "min", "max", "p95"),
)
#: By number: the one metric that counts different users, and the one with the most frequent values.
_DISTINCT, _TOPK = 5, 8


def mixture(n: int) -> tuple[Definition, ...]:
    """The first `n` of them. ValueError for fewer than 1 or more than METRICS_MAX."""
    if not 1 <= n <= METRICS_MAX:
        raise ValueError(f"there are 1 to {METRICS_MAX} metrics, got {n}")
    return (FIRST, *(_numbered(number) for number in range(1, n)))


def _numbered(number: int) -> Definition:
    """Lists of lengths without a common divisor, so every metric is another combination."""
    return Definition(
        name=f"metric_{number:02d}",
        dimensions=_DIMENSIONS[number % len(_DIMENSIONS)],
        aggregations=_AGGREGATIONS[number % len(_AGGREGATIONS)],
        window_ms=_WINDOWS_MS[number % len(_WINDOWS_MS)],
        where=_CONDITIONS[number % len(_CONDITIONS)],
        distinct="data.user" if number == _DISTINCT else None,
        topk="data.carrier" if number == _TOPK else None,
    )
