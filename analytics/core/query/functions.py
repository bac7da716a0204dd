"""Owns the functions a question may ask for: what each needs stored, its type, its computation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates.combine import Combined, Part, merge
from analytics.core.aggregates.percentiles import percentiles
from analytics.core.definitions import aggregation
from analytics.core.definitions.metric import Metric
from analytics.core.query.answer import ColumnType

Values = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """What finished numbers depend on beside the aggregates."""

    span_ms: int  # length of a bucket
    topk_size: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function other than a percentile, and the column it makes of combined aggregates."""

    type: ColumnType
    compute: Callable[[Combined, Scale], Values]


def _rate(combined: Combined, scale: Scale) -> Values:
    """Events per second of the whole bucket, also of one that is still open."""
    return combined.count / (scale.span_ms / 1000)


def _distinct(combined: Combined, _: Scale) -> Values:
    return np.rint(combined.distinct).astype(np.int64)


def _topk(combined: Combined, scale: Scale) -> Values:
    lists = [
        [{"value": value, "count": count} for value, count in pairs]
        for pairs in combined.topk(scale.topk_size)
    ]
    return np.fromiter(lists, object, len(lists))


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "count": Function("uint64", lambda combined, _: combined.count),
        "sum": Function("float64", lambda combined, _: combined.sum),
        "avg": Function("float64", lambda combined, _: combined.avg),
        "min": Function("float64", lambda combined, _: combined.min),
        "max": Function("float64", lambda combined, _: combined.max),
        "stddev": Function("float64", lambda combined, _: combined.stddev),
        "first": Function("float64", lambda combined, _: combined.first),
        "last": Function("float64", lambda combined, _: combined.last),
        "rate": Function("float64", _rate),
        "distinct": Function("uint64", _distinct),
        "topk": Function("topk", _topk),
    }
)


def column_type(name: str) -> ColumnType:
    """The type of the column that a function makes."""
    return FUNCTIONS[name].type if name in FUNCTIONS else "float64"


def answerable(name: str, metric: Metric) -> bool:
    """Whether the metric stores what the function needs, be it declared by that name or not.

    Where one percentile is declared all of them can be asked. The name is one that
    `aggregation.needs` knows.
    """
    if aggregation.quantile_of(name) is not None:
        return metric.has_bins
    if name == "distinct":
        return metric.has_registers
    if name == "topk":
        return metric.has_topk
    return set(aggregation.PLAIN[name].measures) <= set(metric.measures)


def functions_of(metric: Metric) -> tuple[str, ...]:
    """The functions that the metric can answer: the usual ones and those it declares."""
    names = dict.fromkeys((*metric.aggregations, *aggregation.NAMES))
    return tuple(name for name in names if answerable(name, metric))


def compute(
    names: Iterable[str], parts: Sequence[Part], n_groups: int, scale: Scale
) -> dict[str, Values]:
    """The finished columns of `names` over the merge of `parts`, each `n_groups` long.

    All percentiles come from one pass over the sketches.
    """
    combined = merge(parts, n_groups)
    columns = {
        name: FUNCTIONS[name].compute(combined, scale) for name in names if name in FUNCTIONS
    }
    asked = {name: aggregation.quantile_of(name) for name in names if name not in FUNCTIONS}
    qs = [q for q in asked.values() if q is not None]
    if qs:
        columns |= zip(asked, percentiles(parts, n_groups, qs).T, strict=True)
    return columns
