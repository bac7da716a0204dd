"""Owns the answer to a question from one live metric; order and limit belong to `join`."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from analytics.core.aggregates.pane import OTHER
from analytics.core.live.metric import LiveMetric
from analytics.core.query.answer import Answer, Bucket, Column, Meta
from analytics.core.query.functions import Scale, column_type, compute
from analytics.core.query.request import Query, QueryLimits
from analytics.core.query.rollups import Rollups
from analytics.core.watermark import NO_WATERMARK
from analytics.errors import QueryError, QueryMistake


def execute(
    query: Query,
    metric_name: str,
    live: LiveMetric,
    now_ms: int,
    sources: int,
    rollups: Rollups | None = None,
) -> Answer:
    """All rows that `live` has for `query`, by bucket and group; none is an answer as well.

    `sources` is the number of partitions of the events topic: before each has reported, nobody
    knows how complete the answer is. A bucket that no event reached has no row. Raises QueryError
    (422) when the answer, or what must be read for it, is beyond the query's limits; KeyError when
    the query does not ask for this metric.
    """
    metric, functions = query.metric(metric_name)
    watermark_ms = live.watermark_ms(sources)
    kept = Rollups() if rollups is None else rollups
    reading = kept.read(query, metric_name, live)
    groups = reading.groups
    panes = _panes_by_bucket(query, live)
    numbers = sorted(panes)
    _check_cells(query.limits, len(numbers), groups.n)
    parts = [
        (pane, rows, of + i * groups.n)
        for i, number in enumerate(numbers)
        for start_ms in panes[number]
        for pane, rows, of in reading.parts(start_ms)
    ]
    span_ms = query.period.span_ms(metric.window)
    scale = Scale(span_ms, metric.topk_size)
    finished = compute({"count", *functions}, parts, len(numbers) * groups.n, scale)
    filled = np.flatnonzero(finished["count"])
    bucket_index, group_index = np.divmod(filled, max(1, groups.n))
    timestamps = np.array([query.period.start_ms(number) for number in numbers], np.int64)
    return Answer(
        columns=(
            Column("timestamp", "timestamp_ms"),
            *(Column(name, "string") for name in query.group_by),
            *(Column(f"{metric_name}.{name}", column_type(name)) for name in functions),
        ),
        data=(
            timestamps[bucket_index],
            *(labels[group_index] for labels in groups.labels),
            *(finished[name][filled] for name in functions),
        ),
        buckets=tuple(
            Bucket(
                int(timestamps[i]), live.state_of(panes[numbers[i]], int(timestamps[i]) + span_ms)
            )
            for i in np.unique(bucket_index).tolist()
        ),
        meta=_meta(query, live, watermark_ms, now_ms, panes),
    )


def _panes_by_bucket(query: Query, live: LiveMetric) -> dict[int, list[int]]:
    """The starts of the panes that each bucket is merged from; empty buckets are left out.

    Raises QueryError before it takes the time and memory that a question beyond the limits needs.
    """
    period, window = query.period, live.metric.window
    end_ms = period.to_ms - period.every_ms + period.span_ms(window)
    # Retention holds thousands of panes, most questions ask for few: look closer at these only.
    asked = sorted(at for at in live.panes if period.from_ms <= at < end_ms)
    spans = {at: period.buckets_of(at, window) for at in asked}
    _check_reads(query.limits, live, spans)
    panes: dict[int, list[int]] = {}
    for start_ms, buckets in spans.items():
        for number in buckets:
            panes.setdefault(number, []).append(start_ms)
    return panes


def _check_reads(limits: QueryLimits, live: LiveMetric, spans: Mapping[int, range]) -> None:
    """Refuse what reads too many panes or rows; a pane counts once for each bucket it is in."""
    held = [(len(spans[at]), live.panes[at].values()) for at in spans]
    n_panes = sum(times * len(panes) for times, panes in held)
    n_rows = sum(times * sum(pane.n for pane in panes) for times, panes in held)
    for n, limit, of in (
        (n_panes, limits.panes_read_max, "panes"),
        (n_rows, limits.rows_read_max, "rows of panes"),
    ):
        if n > limit:
            message = (
                f"too much to read: {n:,} {of}, the limit is {limit:,};"
                " take a shorter range or a longer step"
            )
            raise QueryError([QueryMistake("/timeRange", message)])


def _check_cells(limits: QueryLimits, n_buckets: int, n_groups: int) -> None:
    """Refuse an answer with too many rows to hold before the limit of rows is applied."""
    cells = n_buckets * n_groups
    if cells > limits.cells_max:
        message = (
            f"too large an answer: {n_buckets:,} buckets x {n_groups:,} groups = {cells:,} cells,"
            f" the limit is {limits.cells_max:,};"
            " take a longer step, a shorter range, fewer groups or a filter"
        )
        raise QueryError([QueryMistake("/groupBy", message)])


def _meta(
    query: Query,
    live: LiveMetric,
    watermark_ms: int,
    now_ms: int,
    panes: Mapping[int, Sequence[int]],
) -> Meta:
    known = watermark_ms != NO_WATERMARK
    return Meta(
        resolution_ms=live.metric.window.pane_ms,
        data_through=watermark_ms if known else None,
        lag_ms=max(0, now_ms - watermark_ms) if known else None,
        sources=("table",),
        late_events=live.late_events,
        degraded=tuple(_shortcomings(query, live, watermark_ms, panes)),
    )


def _shortcomings(
    query: Query, live: LiveMetric, watermark_ms: int, panes: Mapping[int, Sequence[int]]
) -> Iterator[str]:
    """One sentence for each reason why the answer may not be the whole truth."""
    if live.silent:
        yield f"sources: {live.silent} source partitions have not reported yet"
    kept_ms = live.metric.retention_ms + live.metric.window.size_ms
    if watermark_ms != NO_WATERMARK and query.period.from_ms < watermark_ms - kept_ms:
        yield f"retention: events before {watermark_ms - kept_ms} are no longer in the live table"
    read = {start_ms for starts in panes.values() for start_ms in starts}
    overflowed = sum(pane.overflowed for at in read for pane in live.panes[at].values())
    if overflowed:
        yield f"max_series: {overflowed} events are counted in the series {OTHER}"
