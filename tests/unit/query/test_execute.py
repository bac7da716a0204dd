"""Answers of one live metric: buckets, groups, filters, states and completeness."""

import math
from dataclasses import replace
from typing import Any

import pytest

from analytics.core.live.metric import LiveMetric
from analytics.core.query.answer import Answer, Bucket
from analytics.core.query.execute import execute
from analytics.core.query.request import QueryLimits
from analytics.core.watermark import SourceProgress
from analytics.errors import QueryError
from tests.unit.query.held import Row, S, ask, live, metric, panes, question

# 0         10        20        30   seconds
# UA 1 2    UA 3      .         UA 5
# AA   4    .         .         AA .  (an event without a value)
EVENTS: list[Row] = [
    (0, "UA", "JFK", 1.0),
    (1 * S, "UA", "LGA", 2.0),
    (2 * S, "AA", "JFK", 4.0),
    (10 * S, "UA", "JFK", 3.0),
    (30 * S, "UA", "JFK", 5.0),
    (31 * S, "AA", "JFK", None),
]


def held(watermark_ms: int | None = 60 * S) -> LiveMetric:
    return live(metric(), {0: EVENTS}, watermark_ms)


def rows(answer: Answer) -> list[tuple[object, ...]]:
    return list(answer.rows())


def test_without_groups_and_step_there_is_one_row_for_the_range() -> None:
    answer = ask(held(), "count", "sum", "avg", "min", "max")
    assert rows(answer) == [(0, 6, 15.0, 3.0, 1.0, 5.0)]
    assert [column.name for column in answer.columns] == [
        *("timestamp", "delays.count", "delays.sum", "delays.avg", "delays.min", "delays.max")
    ]


def test_rows_come_by_bucket_and_group_and_empty_buckets_are_left_out() -> None:
    assert rows(ask(held(), "count", "sum", groupBy=["source"], step="10s")) == [
        (0, "AA", 1, 4.0),
        (0, "UA", 2, 3.0),
        (10 * S, "UA", 1, 3.0),
        (30 * S, "AA", 1, None),
        (30 * S, "UA", 1, 5.0),
    ]


def test_groups_of_several_dimensions_come_in_the_order_asked() -> None:
    assert rows(ask(held(), "count", groupBy=["origin", "source"])) == [
        (0, "JFK", "AA", 2),
        (0, "JFK", "UA", 3),
        (0, "LGA", "UA", 1),
    ]


def test_filters_must_all_hold() -> None:
    both = [
        {"field": "source", "op": "eq", "value": "UA"},
        {"field": "origin", "op": "startswith", "value": "J"},
    ]
    assert rows(ask(held(), "count", "sum", filters=both)) == [(0, 3, 9.0)]


def test_only_panes_of_the_range_are_counted() -> None:
    assert rows(ask(held(), "count", span=(10 * S, 30 * S))) == [(10 * S, 1)]


def test_source_partitions_are_merged() -> None:
    split = live(metric(), {0: EVENTS[::2], 1: EVENTS[1::2]}, 60 * S)
    shapes: list[dict[str, Any]] = [{}, {"groupBy": ["source"], "step": "10s"}]
    for more in shapes:
        assert rows(ask(split, "count", "sum", "p50", "first", "last", **more)) == rows(
            ask(held(), "count", "sum", "p50", "first", "last", **more)
        )


def test_sketches_and_the_other_functions_are_answered() -> None:
    answer = ask(held(), "first", "last", "rate", "distinct", "topk", "stddev", "p50", "p99.9")
    found = dict(zip([each.name for each in answer.columns], rows(answer)[0], strict=True))
    assert (found["delays.first"], found["delays.last"]) == (1.0, 5.0)
    assert found["delays.rate"] == 6 / 60
    assert found["delays.distinct"] == 2
    assert found["delays.topk"] == [
        {"value": "JFK", "count": 5},
        {"value": "LGA", "count": 1},
    ]
    assert found["delays.stddev"] == pytest.approx(math.sqrt(2))
    assert found["delays.p50"] == pytest.approx(3.0, rel=0.01)
    assert found["delays.p99.9"] == pytest.approx(4.0, rel=0.01)  # rank floor(0.999 x 4) = 3


def test_a_hopping_metric_answers_by_windows_that_overlap() -> None:
    # 0         10        20        30   seconds; windows of 20 s each 10 s
    # 3         1         .         2
    # [----- 4 -----------)
    #           [------- 1 ---------)
    #                     [------- 2 -----------)
    #                               [------- 2 -----------)
    hopping = live(metric(window={"size": "20s", "advance": "10s"}), {0: EVENTS}, 40 * S)
    answer = ask(hopping, "count", step="10s", span=(0, 40 * S))
    assert rows(answer) == [(0, 4), (10 * S, 1), (20 * S, 2), (30 * S, 2)]
    assert [bucket.state for bucket in answer.buckets] == ["final", "final", "final", "open"]
    assert rows(ask(hopping, "count", step="20s", span=(0, 40 * S))) == [(0, 4), (20 * S, 2)]
    assert rows(ask(hopping, "count", span=(0, 10 * S))) == [(0, 3)]


def test_a_bucket_is_open_until_the_watermark_reaches_its_end() -> None:
    answer = ask(held(watermark_ms=39 * S), "count", step="20s")
    assert answer.buckets == (Bucket(0, "final"), Bucket(20 * S, "open"))


def test_a_bucket_with_one_revised_pane_is_revised() -> None:
    changed = held()
    changed.watermark_ms(1)
    changed.apply(0, panes(metric(), [*EVENTS, (11 * S, "UA", "JFK", 1.0)])[10 * S].partials())
    answer = ask(changed, "count", step="20s")
    assert answer.buckets == (Bucket(0, "revised"), Bucket(20 * S, "final"))


def test_an_answer_says_how_complete_it_is() -> None:
    live_metric = held(watermark_ms=40 * S)
    live_metric.late[0] = 3
    meta = ask(live_metric, "count", now_ms=41 * S).meta
    assert (meta.resolution_ms, meta.data_through, meta.lag_ms) == (10 * S, 40 * S, S)
    assert (meta.sources, meta.late_events, meta.degraded) == (("table",), 3, ())


def test_an_answer_admits_that_sources_have_not_reported() -> None:
    query = question(metric(), "count")
    answer = execute(query, "delays", held(watermark_ms=40 * S), 60 * S, sources=4)
    assert answer.meta.data_through is None
    assert answer.meta.lag_ms is None
    assert answer.meta.degraded == ("sources: 3 source partitions have not reported yet",)
    assert answer.buckets == (Bucket(0, "open"),)


def test_an_answer_admits_what_is_past_retention_and_what_overflowed() -> None:
    small = live(metric(max_series=1), {0: EVENTS}, 3_700 * S)
    degraded = ask(small, "count").meta.degraded
    assert degraded == (
        "retention: events before 90000 are no longer in the live table",
        "max_series: 3 events are counted in the series __other__",
    )


def test_nothing_found_is_an_answer_without_rows() -> None:
    empty = LiveMetric(metric())
    excluded = [{"field": "source", "op": "eq", "value": "DL"}]
    for answer in (
        ask(empty, groupBy=["source"]),
        ask(held(), span=(100 * S, 200 * S), step="10s"),
        ask(held(), groupBy=["source"], filters=excluded),
    ):
        assert len(answer) == 0
        assert answer.buckets == ()
        assert "delays.count" in [column.name for column in answer.columns]


def test_a_metric_without_dimensions_is_one_series() -> None:
    total = live(metric(dimensions=None), {0: EVENTS}, 60 * S)
    assert rows(ask(total, "count", step="20s")) == [(0, 4), (20 * S, 2)]


def test_an_answer_beyond_the_limit_of_cells_is_refused_with_its_size() -> None:
    with pytest.raises(QueryError) as caught:
        ask(held(), groupBy=["source"], step="10s", limits=QueryLimits(cells_max=5))
    assert "3 buckets x 2 groups = 6 cells, the limit is 5" in caught.value.errors[0].message


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (QueryLimits(rows_read_max=5), "6 rows of panes, the limit is 5"),
        (QueryLimits(panes_read_max=2), "3 panes, the limit is 2"),
    ],
)
def test_a_question_that_reads_too_much_is_refused_with_its_size(
    limits: QueryLimits, message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        ask(held(), limits=limits)
    assert message in caught.value.errors[0].message


def test_a_pane_counts_as_often_as_it_is_read_for_overlapping_windows() -> None:
    hopping = live(metric(window={"size": "30s", "advance": "10s"}), {0: EVENTS}, 60 * S)
    with pytest.raises(QueryError) as caught:
        ask(hopping, step="10s", limits=QueryLimits(panes_read_max=5))
    assert "6 panes" in caught.value.errors[0].message


def test_grouping_by_more_values_than_fit_in_64_bits_is_exact() -> None:
    names = [f"d{i}" for i in range(10)]
    wide = metric(dimensions=[{name: "data.origin"} for name in names])
    many = live(wide, {0: [(i, "UA", f"o{i:03}", 1.0) for i in range(100)]}, 60 * S)
    answer = ask(many, "count", groupBy=names)
    assert [row[1:] for row in rows(answer)] == [(*[f"o{i:03}"] * 10, 1) for i in range(100)]


def test_a_query_for_another_metric_is_a_programming_error() -> None:
    query = question(replace(metric(), name="other"), "count")
    with pytest.raises(KeyError):
        execute(query, "delays", held(), 0, 1)


def test_reports_that_come_later_are_seen_by_the_next_question() -> None:
    live_metric = held(watermark_ms=20 * S)
    assert ask(live_metric, "count").meta.data_through == 20 * S
    live_metric.report(0, SourceProgress(50 * S, idle=False))
    assert ask(live_metric, "count").meta.data_through == 50 * S
