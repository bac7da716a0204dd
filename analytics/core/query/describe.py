"""Owns the description of a metric for GET /v1/metrics: its definition and what is held of it."""

from analytics.core.definitions.metric import Metric
from analytics.core.definitions.paths import format_path
from analytics.core.live.metric import LiveMetric
from analytics.core.query.functions import functions_of
from analytics.core.watermark import NO_WATERMARK


def describe(metric: Metric, live: LiveMetric | None, sources: int) -> dict[str, object]:
    """One metric as a JSON object.

    `live` is None on a worker that does not hold the metric, or before its first event: the counts
    are then null, for they are not known. `sources` is the number of source partitions. Durations
    and times are in ms.
    """
    watermark_ms = NO_WATERMARK if live is None else live.watermark_ms(sources)
    return {
        "name": metric.name,
        "version": metric.version,
        "where": metric.where_text or None,
        "value": format_path(metric.value) if metric.value else None,
        "dimensions": [
            {"name": each.name, "field": format_path(each.path)} for each in metric.dimensions
        ],
        "aggregations": [*metric.aggregations],
        "functions": [*functions_of(metric)],
        "window": {
            "size_ms": metric.window.size_ms,
            "advance_ms": metric.window.advance_ms,
            "grace_ms": metric.window.grace_ms,
        },
        "resolution_ms": metric.window.pane_ms,
        "retention_ms": metric.retention_ms,
        "max_series": metric.max_series,
        "series": None if live is None else len(live.series),
        "watermark": None if watermark_ms == NO_WATERMARK else watermark_ms,
        "late_events": None if live is None else live.late_events,
        "overflowed_events": None if live is None else live.overflowed,
    }
