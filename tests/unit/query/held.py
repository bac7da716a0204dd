"""Owns metrics and live metrics made of a few events, for tests of questions; asserts nothing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analytics.core.aggregates.grouping import Selections, fold
from analytics.core.aggregates.keys import KeyIndex
from analytics.core.aggregates.pane import Pane, PaneSpec
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import Metric, parse_metrics
from analytics.core.events.columns import Columns
from analytics.core.live.metric import LiveMetric
from analytics.core.query.answer import Answer, join
from analytics.core.query.execute import execute
from analytics.core.query.request import Query, QueryLimits, parse
from analytics.core.watermark import NO_WATERMARK, SourceProgress

S = 1_000
"""One second in ms: panes of these tests are 10 s long."""

Row = tuple[int, str, str, float | None]
"""An event: timestamp in ms, carrier, origin, delay."""


def metric(name: str = "delays", **changes: object) -> Metric:
    """The metric of the tests, every aggregation of it, with `changes` to its definition."""
    definition: dict[str, object] = {
        "value": "data.delay",
        "dimensions": ["source", {"origin": "data.origin"}],
        "aggregations": [
            *("count", "sum", "avg", "min", "max", "stddev", "first", "last", "rate"),
            *("p50", "p95"),
        ],
        "distinct": "data.origin",
        "topk": {"field": "data.origin", "k": 2},
        "window": {"size": "10s", "grace": "30s"},
        "retention": "1h",
    }
    definition |= changes
    kept = {key: value for key, value in definition.items() if value is not None}
    return parse_metrics({"metrics": {name: kept}}, "metrics.yaml")[0]


def columns(rows: Iterable[Row]) -> Columns:
    """The rows as a batch of accepted events."""
    return Columns.from_rows(
        [
            {"timestamp": at, "source": carrier, "data": {"origin": origin, "delay": delay}}
            for at, carrier, origin, delay in rows
        ]
    )


def panes(of: Metric, rows: Sequence[Row]) -> dict[int, Pane]:
    """What one source partition makes of the rows, by pane start."""
    made: dict[int, Pane] = {}
    keys = KeyIndex()
    selections = Selections(columns(rows), NO_WATERMARK)
    selection = selections.of(of)

    def opened(start_ms: int) -> Pane:
        return made.setdefault(start_ms, Pane(PaneSpec.of(of), start_ms, of.key, keys))

    fold(of, selection, selections.ids(of, selection, keys), opened)
    return made


def live(
    of: Metric, by_source: Mapping[int, Sequence[Row]], watermark_ms: int | None = None
) -> LiveMetric:
    """A live metric that holds the rows of each source partition, all at one watermark."""
    held = LiveMetric(of)
    for source, rows in by_source.items():
        for pane in panes(of, rows).values():
            held.apply(source, pane.partials())
    if watermark_ms is not None:
        for source in by_source:
            held.report(source, SourceProgress(watermark_ms, idle=False))
    return held


def question(
    of: Metric | Sequence[Metric],
    *functions: str,
    span: tuple[int, int] = (0, 60 * S),
    limits: QueryLimits | None = None,
    **more: Any,
) -> Query:
    """The query for functions of metrics over a range in ms."""
    metrics = [of] if isinstance(of, Metric) else of
    document = {
        "metrics": [each.name for each in metrics],
        "timeRange": {"from": span[0], "to": span[1]},
        **more,
    }
    if functions:
        document["aggregations"] = [*functions]
    return parse(document, Catalog(tuple(metrics)), span[1], limits or QueryLimits())


def ask(held: LiveMetric, *functions: str, now_ms: int = 60 * S, **more: Any) -> Answer:
    """The finished answer of one live metric, all of whose sources have reported."""
    query = question(held.metric, *functions, **more)
    name = held.metric.name
    return join([execute(query, name, held, now_ms, 1)], query)
