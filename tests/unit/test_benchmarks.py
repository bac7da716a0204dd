"""Owns the pure parts of the benchmarks: statistics, seeded events, truth, comparison, tables."""

import json
import os

import pytest

from benchmarks import events
from benchmarks.events import Cell, Totals
from benchmarks.pipeline import check, our_rows, stock_rows
from benchmarks.processes import cpu_seconds, thread_seconds
from benchmarks.report import page
from benchmarks.results import Figures, Result, WrongResult, cells, gather
from benchmarks.spread import Spread, figure, percentile

N = 500


def test_a_spread_is_the_middle_and_the_extremes() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert str(Spread.of([3.0, 1.0, 2.0])) == "2.00 (1.00 to 3.00)"
    assert str(Spread.of([7.0])) == "7.00"


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 50), (95, 95), (99, 99), (99.5, 100), (100, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


@pytest.mark.parametrize("percent", [0, 101])
def test_a_percentile_outside_the_values_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile([1.0], percent)


def test_figures_have_three_significant_digits() -> None:
    assert [figure(each) for each in (0.0, 7.174, 9.999, 99.94, 99.96, 12345.6)] == [
        "0.00",
        "7.17",
        "10.0",
        "99.9",
        "100",
        "12,346",
    ]


def test_a_seed_gives_the_same_events_every_time() -> None:
    assert list(events.lines(N, 7)) == list(events.lines(N, 7))
    assert list(events.lines(N, 7)) != list(events.lines(N, 8))


def test_events_are_json_objects_of_the_promised_size() -> None:
    for line in events.lines(N, 7):
        assert events.EVENT_BYTES_MIN <= len(line) <= events.EVENT_BYTES_MAX
        assert json.loads(line).keys() == {"id", "timestamp", "type", "source", "data", "metadata"}


def test_a_line_says_what_was_drawn() -> None:
    drawn = list(events.draws(N, 7))
    for draw, line in zip(drawn, events.lines(N, 7), strict=True):
        event = json.loads(line)
        assert event["type"] == draw.type
        assert event["data"]["country"] == draw.country
        assert event["data"]["amount"] == draw.cents / 100
        assert event["timestamp"] == events.rfc3339(draw.timestamp_ms)


def test_the_truth_counts_every_event_once() -> None:
    totals = events.truth(N, 7)
    assert sum(each.count for each in totals.values()) == N
    assert sum(each.sum for each in totals.values()) == pytest.approx(
        sum(draw.cents for draw in events.draws(N, 7)) / 100
    )


def test_a_cell_of_the_truth_holds_its_own_window_and_series() -> None:
    cell = next(iter(events.truth(N, 7)))
    amounts = sorted(
        draw.cents / 100
        for draw in events.draws(N, 7)
        if cell.start_ms <= draw.timestamp_ms < cell.start_ms + events.WINDOW_MS
        and (draw.type, draw.country) == (cell.type, cell.country)
    )
    found = events.truth(N, 7)[cell]
    assert (found.count, found.min, found.max) == (len(amounts), amounts[0], amounts[-1])
    assert found.p95 == amounts[int(0.95 * (len(amounts) - 1))]


CELL = Cell(10_000, "view", "AT")
TRUE = Totals(count=2, sum=3.0, min=1.0, max=2.0, p95=1.0)


def test_an_answer_that_is_the_truth_passes() -> None:
    rows = our_rows([[10_000, "view", "AT", 2, 3.0, 1.0, 2.0, 1.009]])
    check(rows, {CELL: TRUE}, with_p95=True)


@pytest.mark.parametrize(
    "answer",
    [
        (1, 3.0, 1.0, 2.0, 1.0),
        (2, 3.001, 1.0, 2.0, 1.0),
        (2, 3.0, 1.001, 2.0, 1.0),
        (2, 3.0, 1.0, 1.999, 1.0),
        (2, 3.0, 1.0, 2.0, 1.011),
    ],
)
def test_an_answer_that_is_off_anywhere_is_an_error(answer: tuple[float, ...]) -> None:
    with pytest.raises(WrongResult):
        check({CELL: answer}, {CELL: TRUE}, with_p95=True)


def test_a_missing_row_is_an_error() -> None:
    with pytest.raises(WrongResult, match="1 rows are missing"):
        check({}, {CELL: TRUE}, with_p95=False)


def test_the_partitions_of_the_stock_table_are_merged() -> None:
    rows = {"10000|view|AT|0": [1, 1.0, 1.0, 1.0], "10000|view|AT|5": [1, 2.0, 2.0, 2.0]}
    assert stock_rows(rows) == {CELL: (2, 3.0, 1.0, 2.0)}


def test_the_time_of_a_process_grows_with_its_work() -> None:
    before = cpu_seconds(os.getpid()), sum(thread_seconds(os.getpid()).values())
    while sum(thread_seconds(os.getpid()).values()) < before[1] + 0.05:
        pass
    assert cpu_seconds(os.getpid()) > before[0]


def test_the_time_of_no_process_is_an_error() -> None:
    with pytest.raises(ProcessLookupError):
        cpu_seconds(2**22 + 1)  # beyond the greatest process id of Linux


def test_repeats_are_gathered_by_candidate_in_the_order_of_first_runs() -> None:
    runs = [("b", {"s": 1.0}), ("a", {"s": 2.0}), ("b", {"s": 3.0})]
    assert gather(runs) == [Figures("b", {"s": [1.0, 3.0]}), Figures("a", {"s": [2.0]})]


def test_a_table_with_more_measures_than_candidates_lies_on_its_side() -> None:
    assert cells([Figures("a", {"s": [1.0]}), Figures("b", {"s": [2.0]})]) == [
        ["candidate", "s"],
        ["a", "1.00"],
        ["b", "2.00"],
    ]
    assert cells([Figures("a", {"s": [1.0], "t": [2.0]})]) == [
        ["measure", "a"],
        ["s", "1.00"],
        ["t", "2.00"],
    ]


def test_a_section_of_the_page_shows_command_figures_and_machine() -> None:
    result = Result(
        benchmark="pipeline",
        command="python -m benchmarks pipeline",
        started="2026-01-05T08:00:00.000Z",
        machine={"CPUs": "2"},
        versions={"Kafka": "4.3.0"},
        parameters={"repeats": "3"},
        figures=[Figures("ours", {"events/s": [1000.0]})],
    )
    shown = page(result, "What an event costs", "By counting.")
    for expected in ("python -m benchmarks pipeline", "| ours | 1,000 |", "CPUs 2", "Kafka 4.3.0"):
        assert expected in shown
