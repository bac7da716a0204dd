"""Owns the closed set of aggregations: their names, and what each must have stored."""

import re
from dataclasses import dataclass
from typing import Final

_PERCENTILE: Final = re.compile(r"p[0-9]+(\.[0-9]+)?")
_SHORTEST: Final = re.compile(r"p(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")


@dataclass(frozen=True, slots=True)
class Needs:
    """What one aggregation asks for: stored scalar `measures`, and whether events need a value."""

    measures: tuple[str, ...] = ()
    value: bool = False


PLAIN: Final = {
    "count": Needs(),
    "sum": Needs(("values", "sum"), value=True),
    "avg": Needs(("values", "sum"), value=True),
    "min": Needs(("min",), value=True),
    "max": Needs(("max",), value=True),
    "stddev": Needs(("values", "sum", "sum_sq"), value=True),
    "first": Needs(("first",), value=True),
    "last": Needs(("last",), value=True),
    "rate": Needs(),
    "distinct": Needs(),
    "topk": Needs(),
}
"""The aggregations with a fixed name. `count` is always stored, so nobody needs to ask for it."""

MEASURES_ORDER: Final = ("count", "values", "sum", "sum_sq", "min", "max", "first", "last")
"""Every scalar measure, in the one order in which a metric lists its own."""

NAMES: Final = (*PLAIN, "p50", "p90", "p95", "p99")
"""What to suggest for a name that is none: the fixed names and the usual percentiles."""


def quantile_of(name: str) -> float | None:
    """The quantile a percentile's name asks for (`p99.9` is 0.999); None for any other name.

    Raises ValueError with the rule, where the percentile is out of range or not written in its
    one shortest form: `p5` and `p05` would otherwise be two names of one number.
    """
    if not _PERCENTILE.fullmatch(name):
        return None
    # Shifting the exponent in the text keeps 99.9 % at exactly 0.999, which a division does not.
    quantile = float(f"{name[1:]}e-2")
    if not 0 < quantile < 1:
        raise ValueError("must be a percentile above p0 and below p100")
    if not _SHORTEST.fullmatch(name):
        raise ValueError("must be written without needless zeros, such as p5 or p99.9")
    return quantile


def needs(name: str) -> Needs | None:
    """What the aggregation needs, or None where no aggregation has this name.

    Raises ValueError as `quantile_of` does.
    """
    if quantile_of(name) is not None:
        return Needs(value=True)
    return PLAIN.get(name)
