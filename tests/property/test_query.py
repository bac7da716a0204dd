"""An answer equals a plain loop over the raw events, however they were spread and snapshotted."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.core.definitions.metric import Metric
from analytics.core.live.metric import LiveMetric
from analytics.core.query.answer import join
from analytics.core.query.execute import execute
from analytics.core.query.request import Query
from analytics.core.watermark import SourceProgress
from tests.unit.query.held import Row, S, metric, panes, question

TUMBLING = metric()
HOPPING = metric(window={"size": "30s", "advance": "10s"})
FUNCTIONS = (
    *("count", "sum", "avg", "min", "max", "stddev", "first", "last", "rate", "topk"),
    *("p50", "p95"),
)
SOURCES = 3
DIMENSIONS = ("source", "origin")

# Whole numbers, so that sums are exact in whatever order they are made.
values = st.one_of(st.none(), st.integers(-1_000, 1_000).map(float))
rows = st.tuples(
    st.integers(0, 90 * S),
    st.sampled_from(["UA", "AA", ""]),
    st.sampled_from(["JFK", "9", "10"]),
    values,
)
events = st.lists(st.tuples(st.integers(0, SOURCES - 1), rows), max_size=60)


class Sieve(NamedTuple):
    """A filter, and the texts out of all in these tests that pass it."""

    field: str
    op: str
    value: object
    passing: tuple[str, ...]


FILTERS = (
    Sieve("source", "ne", "UA", ("AA", "")),
    Sieve("source", "exists", True, ("UA", "AA")),
    Sieve("origin", "gt", 9, ("10",)),
    Sieve("origin", "in", ["JFK", 9], ("JFK", "9")),
)


def hold(of: Metric, spread: Sequence[tuple[int, Row]], cut: int) -> LiveMetric:
    """A live metric of the events, with a snapshot of the first `cut` of them on the way."""
    held = LiveMetric(of)
    for upto in (cut, len(spread)):
        for source in range(SOURCES):
            mine = [row for number, row in spread[:upto] if number == source]
            for pane in panes(of, mine).values():
                held.apply(source, pane.partials())
            held.report(source, SourceProgress(45 * S, idle=False))
    return held


def naive(
    query: Query, spread: Sequence[tuple[int, Row]], tests: Sequence[Sieve]
) -> dict[tuple[object, ...], list[tuple[int, Row]]]:
    """The events of every bucket and group that has any, in log order."""
    period, found = query.period, defaultdict(list)
    span_ms = period.span_ms(query.metrics[0].window)
    for source, row in spread:
        texts = dict(zip(DIMENSIONS, row[1:3], strict=True))
        if not all(texts[test.field] in test.passing for test in tests):
            continue
        groups = tuple(texts[name] for name in query.group_by)
        for start_ms in range(period.from_ms, period.to_ms, period.every_ms):
            if start_ms <= row[0] < start_ms + span_ms:
                found[(start_ms, *groups)].append((source, row))
    return dict(found)


def edge(spread: Sequence[tuple[int, Row]], *, last: bool) -> float | None:
    """The first or last value: by time, within a series of a partition also by arrival."""
    by_series: dict[tuple[object, ...], tuple[int, float]] = {}
    for source, (at, carrier, origin, value) in spread:
        if value is not None:
            key = (source, carrier, origin)
            held = by_series.get(key)
            if held is None or (at >= held[0] if last else at < held[0]):
                by_series[key] = (at, value)
    return (max if last else min)(by_series.values(), default=(0, None))[1]


def numbers(spread: Sequence[tuple[int, Row]], span_ms: int) -> dict[str, object]:
    """The finished numbers of some events, by the definitions in plain Python."""
    found = sorted(row[3] for _, row in spread if row[3] is not None)
    n = len(found)
    mean = sum(found) / n if n else None
    counter = Counter(row[2] for _, row in spread)
    top = sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:2]
    return {
        "count": len(spread),
        "sum": sum(found) if n else None,
        "avg": mean,
        "min": found[0] if n else None,
        "max": found[-1] if n else None,
        "stddev": math.sqrt(sum((x - mean) ** 2 for x in found) / n) if mean is not None else None,
        "first": edge(spread, last=False),
        "last": edge(spread, last=True),
        "rate": len(spread) / (span_ms / 1000),
        "topk": [{"value": value, "count": count} for value, count in top],
        "p50": found[(n - 1) // 2] if n else None,
        "p95": found[math.floor(0.95 * (n - 1))] if n else None,
    }


def close(got: object, expected: object, relative: float) -> bool:
    if isinstance(got, float) and isinstance(expected, float):
        return got == pytest.approx(expected, rel=relative, abs=1e-4)
    return got == expected


@given(
    of=st.sampled_from([TUMBLING, HOPPING]),
    spread=events,
    cut=st.integers(0, 60),
    ends=st.lists(st.integers(0, 90 * S), min_size=2, max_size=2, unique=True).map(sorted),
    cells=st.tuples(
        st.sampled_from([None, 10, 20, 30, 60]),
        st.lists(st.sampled_from(DIMENSIONS), unique=True),
    ),
    tests=st.lists(st.sampled_from(FILTERS), unique_by=lambda test: test.field),
)
def test_an_answer_equals_a_loop_over_the_events(
    of: Metric,
    spread: list[tuple[int, Row]],
    cut: int,
    ends: list[int],
    cells: tuple[int | None, list[str]],
    tests: list[Sieve],
) -> None:
    step_s, group_by = cells
    query = question(
        of,
        *FUNCTIONS,
        span=(ends[0], ends[1]),
        groupBy=group_by,
        filters=[{"field": t.field, "op": t.op, "value": t.value} for t in tests],
        step=None if step_s is None else f"{step_s}s",
    )
    answer = join([execute(query, of.name, hold(of, spread, cut), 0, SOURCES)], query)
    expected = naive(query, spread, tests)
    keys = 1 + len(group_by)
    got = {row[:keys]: row[keys:] for row in answer.rows()}
    assert list(got) == sorted(expected)  # and in this order
    span_ms = query.period.span_ms(of.window)
    for key, row in got.items():
        wanted = numbers(expected[key], span_ms)
        for name, value in zip(FUNCTIONS, row, strict=True):
            relative = 0.01 if name in ("p50", "p95") else 1e-6
            assert close(value, wanted[name], relative), (key, name)
    assert [each.timestamp for each in answer.buckets] == sorted({key[0] for key in got})
    for bucket in answer.buckets:
        assert (bucket.state == "open") == (bucket.timestamp + span_ms > 45 * S)
