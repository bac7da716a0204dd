"""When panes are merged ahead, what of, and what is let go of."""

import pytest

from analytics.core.live.metric import LiveMetric
from analytics.core.query.execute import execute
from analytics.core.query.rollups import Rollups
from analytics.core.watermark import SourceProgress
from tests.unit.query.held import Row, S, live, metric, panes, question

SERIES, SOURCES = 12, 3
ENDED, OPEN = 5, 1
"""Panes, of ten seconds each."""


def rows(pane: int) -> list[Row]:
    return [(pane * 10 * S, f"C{n}", "JFK" if n % 2 else "LGA", 1.0) for n in range(SERIES)]


@pytest.fixture
def held() -> LiveMetric:
    everything = [row for pane in range(ENDED + OPEN) for row in rows(pane)]
    made = live(metric(), dict.fromkeys(range(SOURCES), everything), ENDED * 10 * S)
    made.evict(SOURCES)
    return made


def merged_after(held: LiveMetric, times: int, rollups: Rollups, group_by: str = "origin") -> int:
    """Ask some times; how many rows of merged panes there are then, those of series left out."""
    query = question(held.metric, "count", groupBy=[group_by])
    for _ in range(times):
        execute(query, held.metric.name, held, 0, SOURCES, rollups)
    return rollups.rows - len(held.series)


def test_a_question_that_comes_once_prepares_nothing(held: LiveMetric) -> None:
    assert merged_after(held, 1, Rollups()) == 0


def test_each_repetition_merges_one_of_the_panes_that_have_ended(held: LiveMetric) -> None:
    rollups = Rollups()
    origins = 2
    assert [merged_after(held, 1, rollups) for _ in range(9)] == [
        origins * panes for panes in (0, 1, 2, 3, 4, 5, 5, 5, 5)
    ]


def test_a_pane_that_was_revised_is_merged_anew(held: LiveMetric) -> None:
    rollups = Rollups()
    before = merged_after(held, 9, rollups)
    late = panes(held.metric, [*rows(0), (0, "C0", "EWR", 1.0)])[0].partials()
    held.apply(0, late)
    held.evict(SOURCES)
    assert merged_after(held, 9, rollups) > before


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
    rollups = Rollups(rows_max=SERIES + 2 * ENDED)
    assert merged_after(held, 9, rollups) == 2 * ENDED
    assert merged_after(held, 9, rollups, "source") <= 2 * ENDED
    assert rollups.rows <= SERIES + 2 * ENDED


def test_counters_of_frequent_texts_are_always_read_whole(held: LiveMetric) -> None:
    rollups = Rollups()
    query = question(held.metric, "topk", groupBy=["origin"])
    for _ in range(9):
        execute(query, held.metric.name, held, 0, SOURCES, rollups)
    assert rollups.rows == len(held.series)
