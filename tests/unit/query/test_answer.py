"""Answers, and how those of several metrics become one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from analytics.core.query.answer import Answer, Bucket, Column, Meta, join
from tests.unit.query.held import Row, S, ask, live, metric, question

DELAYS = metric()
ARRIVALS = metric("arrivals")

BOTH = [(0, "UA", "JFK", 1.0), (0, "AA", "JFK", 2.0)]
LATER = [(10 * S, "AA", "JFK", 3.0), (10 * S, "DL", "JFK", None)]


def answer(name: str, rows: Sequence[Row]) -> Answer:
    held = live(metric(name), {0: rows}, 60 * S)
    return ask(held, "count", "sum", groupBy=["source"], step="10s")


def both(**more: Any) -> Answer:
    query = question([DELAYS, ARRIVALS], "count", "sum", groupBy=["source"], step="10s", **more)
    return join([answer("delays", BOTH), answer("arrivals", [BOTH[1], *LATER])], query)


def test_answers_are_joined_on_bucket_and_group_and_what_is_missing_is_null() -> None:
    joined = both()
    assert [column.name for column in joined.columns] == [
        *("timestamp", "source"),
        *("delays.count", "delays.sum", "arrivals.count", "arrivals.sum"),
    ]
    assert list(joined.rows()) == [
        (0, "AA", 1, 2.0, 1, 2.0),
        (0, "UA", 1, 1.0, None, None),
        (10 * S, "AA", None, None, 1, 3.0),
        (10 * S, "DL", None, None, 1, None),
    ]


def test_rows_are_ordered_by_every_key_and_nulls_come_last_either_way() -> None:
    down = [{"field": "delays.sum", "direction": "desc"}, {"field": "source", "direction": "desc"}]
    assert [row[:2] for row in both(orderBy=down).rows()] == [
        *((0, "AA"), (0, "UA"), (10 * S, "DL"), (10 * S, "AA"))
    ]
    up = [{"field": "arrivals.count"}, {"field": "timestamp", "direction": "desc"}]
    assert [row[:2] for row in both(orderBy=up).rows()] == [
        *((10 * S, "AA"), (10 * S, "DL"), (0, "AA"), (0, "UA"))
    ]


def test_the_limit_is_applied_after_the_order_and_drops_buckets_without_rows() -> None:
    first = both(orderBy=[{"field": "arrivals.sum", "direction": "desc"}], limit=1)
    assert [row[:2] for row in first.rows()] == [(10 * S, "AA")]
    assert first.buckets == (Bucket(10 * S, "final"),)
    assert first.meta.degraded == ()


def test_an_answer_cut_by_the_default_limit_says_so() -> None:
    rows: list[Row] = [(0, f"C{i:05}", "JFK", 1.0) for i in range(10_001)]
    cut = ask(live(DELAYS, {0: rows}, 60 * S), "count", groupBy=["source"])
    assert len(cut) == 10_000
    assert cut.meta.degraded == ("limit: the first 10000 of 10001 rows; ask with a limit for more",)


def meta(**changes: Any) -> Meta:
    known: dict[str, Any] = {
        "resolution_ms": 10_000,
        "data_through": 50 * S,
        "lag_ms": 10,
        "sources": ("table",),
        "late_events": 1,
        "degraded": (),
    }
    return Meta(**(known | changes))


def test_a_joined_answer_promises_no_more_than_its_least_part() -> None:
    columns = (Column("timestamp", "timestamp_ms"),)
    at_zero = (np.zeros(1, np.int64),)
    good = Answer(columns, at_zero, (Bucket(0, "final"),), meta(cached=True, took_ms=1.0))
    worse = Answer(
        columns,
        at_zero,
        (Bucket(0, "revised"),),
        meta(
            resolution_ms=60_000,
            data_through=40 * S,
            lag_ms=20,
            sources=("table", "clickhouse"),
            degraded=("late",),
            took_ms=2.0,
        ),
    )
    query = question([DELAYS, ARRIVALS], "count")
    joined = join([good, worse], query)
    assert joined.buckets == (Bucket(0, "revised"),)
    assert joined.meta == meta(
        resolution_ms=60_000,
        data_through=40 * S,
        lag_ms=20,
        sources=("table", "clickhouse"),
        late_events=2,
        degraded=("late",),
        took_ms=2.0,
    )
    unknown = Answer(columns, at_zero, (Bucket(0, "open"),), meta(data_through=None, lag_ms=None))
    joined = join([good, unknown], query)
    assert joined.buckets == (Bucket(0, "open"),)
    assert (joined.meta.data_through, joined.meta.lag_ms) == (None, None)


def test_answers_without_rows_are_joined_as_well() -> None:
    query = question([DELAYS, ARRIVALS], "count", groupBy=["source"], step="10s")
    joined = join([answer("delays", []), answer("arrivals", [])], query)
    assert len(joined) == 0
    assert joined.buckets == ()


def test_answers_to_different_questions_are_not_joined() -> None:
    query = question([DELAYS, ARRIVALS], "count")
    with pytest.raises(ValueError, match="key columns"):
        join([answer("delays", BOTH), ask(live(ARRIVALS, {0: BOTH}, 0), "count")], query)


def test_a_column_is_found_by_its_name() -> None:
    assert answer("delays", BOTH).column("delays.sum").tolist() == [2.0, 1.0]
    with pytest.raises(KeyError):
        answer("delays", BOTH).column("delays.avg")
