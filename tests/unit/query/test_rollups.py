"""When panes are merged ahead, what of, and what is let go of."""

from typing import Any

import pytest

from analytics.core.live.metric import LiveMetric
from analytics.core.query.execute import execute
from analytics.core.query.rollups import GROUPINGS_MAX, Rollups
from analytics.core.watermark import SourceProgress
from tests.unit.query.held import Row, S, live, metric, panes, question

SERIES, SOURCES = 12, 3
ENDED, OPEN = 5, 1
"""Panes, of ten seconds each."""
VARIED = 500


def rows(pane: int) -> list[Row]:
    return [(pane * 10 * S, f"C{n}", "JFK" if n % 2 else "LGA", 1.0) for n in range(SERIES)]


@pytest.fixture
def held() -> LiveMetric:
    everything = [row for pane in range(ENDED + OPEN) for row in rows(pane)]
    made = live(metric(), dict.fromkeys(range(SOURCES), everything), ENDED * 10 * S)
    made.evict(SOURCES)
    return made


def merged_after(held: LiveMetric, times: int, rollups: Rollups, group_by: str = "origin") -> int:
    """Ask some times; how many panes are merged then."""
    ask(held, times, rollups, groupBy=[group_by])
    return rollups.panes


def ask(held: LiveMetric, times: int, rollups: Rollups, **more: Any) -> list[tuple[Any, ...]]:
    """Ask for counts some times; the last answer."""
    query = question(held.metric, "count", **more)
    for _ in range(times):
        answer = execute(query, held.metric.name, held, 0, SOURCES, rollups)
    return list(answer.rows())


def test_a_question_that_comes_once_prepares_nothing(held: LiveMetric) -> None:
    assert merged_after(held, 1, Rollups()) == 0


def test_each_repetition_merges_one_of_the_panes_that_have_ended(held: LiveMetric) -> None:
    rollups = Rollups()
    assert [merged_after(held, 1, rollups) for _ in range(8)] == [0, 1, 2, 3, 4, 5, 5, 5]


def test_a_late_event_of_a_series_that_was_there_is_in_the_next_answer(held: LiveMetric) -> None:
    rollups = Rollups()
    before = ask(held, 9, rollups)
    held.apply(0, panes(held.metric, [*rows(0), rows(0)[0]])[0].partials())
    held.evict(SOURCES)
    (at, count), (_, later) = before[0], ask(held, 1, rollups)[0]
    assert later == count + 1
    assert ask(held, 9, rollups) == [(at, later)]


def test_groups_of_other_names_are_not_those_that_were_merged_though_they_are_as_many() -> None:
    def rows_at(second: int, names: str) -> list[Row]:
        return [(second * S, name, "JFK", 1.0) for name in names]

    rows_before = [*rows_at(0, "ABGH"), *rows_at(30, "CE")]
    made = live(metric(retention="40s"), dict.fromkeys(range(SOURCES), rows_before), 40 * S)
    made.evict(SOURCES)
    rollups = Rollups()
    assert len(ask(made, 9, rollups, groupBy=["source"])) == 6
    for source in range(SOURCES):
        made.report(source, SourceProgress(50 * S, idle=False))
    assert list(made.evict(SOURCES)) == [0]
    for source in range(SOURCES):
        made.apply(source, panes(made.metric, rows_at(50, "DFIJ"))[50 * S].partials())
    answered = ask(made, 9, rollups, groupBy=["source"], span=(0, 60 * S))
    assert {name: count for _, name, count in answered} == dict.fromkeys("CDEFIJ", SOURCES)


def test_new_series_in_groups_that_there_are_keep_what_was_merged(held: LiveMetric) -> None:
    rollups = Rollups()
    before = merged_after(held, 9, rollups)
    newest = ENDED * 10 * S
    held.apply(0, panes(held.metric, [(newest, "C99", "JFK", 1.0)])[newest].partials())
    assert merged_after(held, 1, rollups) == before


def test_what_was_merged_goes_with_its_panes(held: LiveMetric) -> None:
    rollups = Rollups()
    assert merged_after(held, 9, rollups) > 0
    for source in range(SOURCES):
        held.report(source, SourceProgress(7_200 * S, idle=False))
    held.evict(SOURCES)
    assert merged_after(held, 1, rollups) == 0


def test_no_more_is_kept_than_may_be_and_the_last_questions_stay(held: LiveMetric) -> None:
    rollups = Rollups(bytes_max=100_000)
    for group_by in ("origin", "source", "origin", "source"):
        merged_after(held, 9, rollups, group_by)
    assert 0 < rollups.bytes <= 100_000
    assert rollups.panes > 0


def test_questions_that_come_once_each_drive_one_another_out(held: LiveMetric) -> None:
    rollups = Rollups()
    for number in range(GROUPINGS_MAX + 50):
        filters = [{"field": "source", "op": "eq", "value": f"nobody {number}"}]
        ask(held, 1, rollups, filters=filters)
    assert rollups.groupings == GROUPINGS_MAX


def test_a_metric_too_large_to_be_kept_leaves_the_others_alone(held: LiveMetric) -> None:
    rollups = Rollups(bytes_max=100_000)
    before = merged_after(held, 3, rollups)
    many = live(metric("many"), {0: [(0, f"C{n}", "JFK", 1.0) for n in range(9_000)]})
    assert merged_after(many, 3, rollups) == before
    assert rollups.groupings == 1


def test_sketches_count_as_what_they_take(held: LiveMetric) -> None:
    few, many = Rollups(), Rollups()
    values = {name: live(metric(name), {0: made}) for name, made in varied().items()}
    for rollups, of in ((few, values["one"]), (many, values["each"])):
        of.report(0, SourceProgress(60 * S, idle=False))
        of.evict(1)
        merged_after(of, 4, rollups)
    assert many.bytes > few.bytes + 10 * VARIED


def varied() -> dict[str, list[Row]]:
    """As many events with one value, and with a value and an origin each."""
    return {
        "one": [(0, "UA", "JFK", 1.0) for _ in range(VARIED)],
        "each": [(0, "UA", f"O{n}", float(n)) for n in range(VARIED)],
    }


def test_counters_of_frequent_texts_are_always_read_whole(held: LiveMetric) -> None:
    rollups = Rollups()
    query = question(held.metric, "topk", groupBy=["origin"])
    for _ in range(9):
        execute(query, held.metric.name, held, 0, SOURCES, rollups)
    assert (rollups.groupings, rollups.panes) == (1, 0)
