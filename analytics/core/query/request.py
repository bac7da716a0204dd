"""Owns what a question is: the document of POST /v1/query becomes a `Query`, or is refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from analytics.core.definitions import aggregation
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import AGGREGATIONS_MAX, Metric
from analytics.core.query.filters import Filter, parse_filters
from analytics.core.query.functions import answerable, functions_of
from analytics.core.query.mistakes import Mistakes, nearest, pointer
from analytics.core.query.period import Period, parse_period
from analytics.errors import brief

NAMES = (
    "metrics", "aggregations", "filters", "groupBy", "timeRange", "step", "orderBy", "limit"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """How large a question may be; one that is larger is refused with its size and the limit."""

    metrics_max: int = 20
    filters_max: int = 50
    group_by_max: int = 16
    range_ms_max: int = 400 * 86_400_000
    buckets_max: int = 10_000
    cells_max: int = 1_000_000  # buckets x groups
    panes_read_max: int = 100_000  # about 20 us each
    rows_read_max: int = 5_000_000  # about 0.5 us each with percentiles
    rows_max: int = 100_000
    rows_default: int = 10_000


@dataclass(frozen=True, slots=True)
class Order:
    """One key of `orderBy`: a column of the answer."""

    field: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A question that can be answered as asked.

    `functions[i]` are the functions wanted of `metrics[i]`. `limit` is None when none was given.
    Equal questions are equal values, so a query is its own cache key.
    """

    metrics: tuple[Metric, ...]
    functions: tuple[tuple[str, ...], ...]
    filters: tuple[Filter, ...]
    group_by: tuple[str, ...]
    period: Period
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
    limits: QueryLimits = field(default_factory=QueryLimits)

    @property
    def rows_max(self) -> int:
        """How many rows an answer may have."""
        return self.limits.rows_default if self.limit is None else self.limit

    def metric(self, name: str) -> tuple[Metric, tuple[str, ...]]:
        """The asked metric of this name and its functions; KeyError when it was not asked."""
        for metric, functions in zip(self.metrics, self.functions, strict=True):
            if metric.name == name:
                return metric, functions
        raise KeyError(name)

    def part(self, name: str) -> dict[str, object]:
        """The document that asks for the part of one metric, for the worker that owns it.

        Its range is absolute, so that parts answered at different moments still join; it has no
        order and no limit, which only hold over the joined rows.
        """
        period = self.period
        document: dict[str, object] = {
            "metrics": [name],
            "aggregations": [*self.metric(name)[1]],
            "filters": [each.document() for each in self.filters],
            "groupBy": [*self.group_by],
            "timeRange": {"from": period.from_ms, "to": period.to_ms},
        }
        if period.step_ms is not None:
            document["step"] = f"{period.step_ms}ms"
        return document


def parse(document: object, catalog: Catalog, now_ms: int, limits: QueryLimits) -> Query:
    """Read the document of POST /v1/query. Raises QueryError with every mistake that is in it.

    `now_ms` (epoch ms) is where `{"last": ...}` and a range without `to` end.
    """
    mistakes = Mistakes()
    if not isinstance(document, dict):
        mistakes.add("", "must be an object")
        mistakes.raise_any()
    assert isinstance(document, dict)
    mistakes.unknown_keys("", document, NAMES)
    metrics = _parse_metrics(document.get("metrics"), catalog, limits, mistakes)
    functions = _parse_functions(document.get("aggregations"), metrics, mistakes)
    period = parse_period(
        document,
        metrics,
        now_ms,
        mistakes,
        range_ms_max=limits.range_ms_max,
        buckets_max=limits.buckets_max,
    )
    limit = _parse_limit(document.get("limit"), limits, mistakes)
    if not metrics:  # which dimensions and columns there are is not known then
        mistakes.raise_any()
    dimensions = _shared_dimensions(metrics)
    filters = parse_filters(
        document.get("filters", []), dimensions, mistakes, filters_max=limits.filters_max
    )
    group_by = _parse_group_by(document.get("groupBy", []), dimensions, limits, mistakes)
    sortable = _sortable(metrics, functions, group_by)
    order_by = _parse_order(document.get("orderBy", []), sortable, mistakes)
    mistakes.raise_any()
    assert period is not None
    return Query(metrics, functions, filters, group_by, period, order_by, limit, limits)


def _parse_metrics(
    given: object, catalog: Catalog, limits: QueryLimits, mistakes: Mistakes
) -> tuple[Metric, ...]:
    names = _names(given, "/metrics", mistakes, most=limits.metrics_max)
    if isinstance(given, list) and not given:
        mistakes.add("/metrics", "must name at least one metric")
    found = []
    for i, name in names:
        metric = catalog.by_name.get(name)
        if metric is None:
            mistakes.add(
                pointer("/metrics", i),
                f"unknown metric {brief(name)}{nearest(name, catalog.by_name)}",
            )
        else:
            found.append(metric)
    return tuple(found)


def _parse_functions(
    given: object, metrics: Sequence[Metric], mistakes: Mistakes
) -> tuple[tuple[str, ...], ...]:
    """The functions of each metric: those asked for, or all that its definition declares."""
    if given is None:
        return tuple(metric.aggregations for metric in metrics)
    named = _names(given, "/aggregations", mistakes, most=AGGREGATIONS_MAX)
    wanted = tuple(name for i, name in named if _check(i, name, metrics, mistakes))
    if isinstance(given, list) and not given:
        mistakes.add("/aggregations", "must name at least one function, or be left out")
    return (wanted,) * len(metrics)


def _check(i: int, name: str, metrics: Sequence[Metric], mistakes: Mistakes) -> bool:
    """Whether every metric can answer the function; if not, `mistakes` says why."""
    at = pointer("/aggregations", i)
    try:
        needs = aggregation.needs(name)
    except ValueError as error:
        mistakes.add(at, f"{error}, got {brief(name)}")
        return False
    if needs is None:
        mistakes.add(at, f"unknown function {brief(name)}{nearest(name, aggregation.NAMES)}")
        return False
    unable = [metric for metric in metrics if not answerable(name, metric)]
    for metric in unable:
        known = set(functions_of(metric))
        mistakes.add(at, f"{metric.name!r} does not store what {name} needs{nearest(name, known)}")
    return not unable


def _shared_dimensions(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """The dimensions that every asked metric has, in the order of the first."""
    named = [[dimension.name for dimension in metric.dimensions] for metric in metrics]
    return tuple(name for name in named[0] if all(name in names for names in named))


def _parse_group_by(
    given: object, dimensions: Sequence[str], limits: QueryLimits, mistakes: Mistakes
) -> tuple[str, ...]:
    wanted = []
    for i, name in _names(given, "/groupBy", mistakes, most=limits.group_by_max):
        if name in dimensions:
            wanted.append(name)
        else:
            mistakes.add(
                pointer("/groupBy", i),
                f"unknown dimension {brief(name)}{nearest(name, dimensions)}",
            )
    return tuple(wanted)


def _sortable(
    metrics: Sequence[Metric], functions: Sequence[Sequence[str]], group_by: Sequence[str]
) -> tuple[str, ...]:
    """The columns of the answer that have an order."""
    values = (
        f"{metric.name}.{name}"
        for metric, names in zip(metrics, functions, strict=True)
        for name in names
        if name != "topk"
    )
    return ("timestamp", *group_by, *values)


def _parse_order(given: object, sortable: Sequence[str], mistakes: Mistakes) -> tuple[Order, ...]:
    if not isinstance(given, list) or len(given) > len(sortable):
        mistakes.add("/orderBy", "must be a list of {field, direction}, each column once")
        return ()
    orders = []
    for i, item in enumerate(given):
        at = pointer("/orderBy", i)
        if not isinstance(item, dict):
            mistakes.add(at, "must be an object {field, direction}")
            continue
        mistakes.unknown_keys(at, item, ("field", "direction"))
        name, direction = item.get("field"), item.get("direction", "asc")
        if name not in sortable:
            mistakes.add(
                pointer(at, "field"), f"unknown column {brief(name)}{nearest(name, sortable)}"
            )
        if direction not in ("asc", "desc"):
            mistakes.add(pointer(at, "direction"), f"must be asc or desc, got {brief(direction)}")
        orders.append(Order(str(name), direction == "desc"))
    return tuple(orders)


def _parse_limit(given: object, limits: QueryLimits, mistakes: Mistakes) -> int | None:
    if given is None:
        return None
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= limits.rows_max:
        return given
    mistakes.add(
        "/limit", f"must be a whole number from 1 to {limits.rows_max}, got {brief(given)}"
    )
    return None


def _names(given: object, at: str, mistakes: Mistakes, *, most: int) -> list[tuple[int, str]]:
    """The texts of a list with their positions, each once."""
    if not isinstance(given, list):
        mistakes.add(at, "must be a list of names")
        return []
    if len(given) > most:
        mistakes.add(at, f"at most {most} names, got {len(given)}")
        return []
    names: dict[str, int] = {}
    for i, name in enumerate(given):
        if not isinstance(name, str):
            mistakes.add(pointer(at, i), f"must be a name, got {brief(name)}")
        elif name in names:
            mistakes.add(pointer(at, i), f"{name!r} is named twice")
        else:
            names[name] = i
    return [(i, name) for name, i in names.items()]
