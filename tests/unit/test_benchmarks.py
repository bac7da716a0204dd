"""Owns the pure parts of the benchmarks: statistics, seeded events, truth, comparison, tables."""

import json
import os
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from benchmarks import __main__, events, pipeline
from benchmarks.events import Cell, Totals
from benchmarks.pipeline import check, check_total, our_rows, stock_rows
from benchmarks.processes import cpu_seconds, thread_seconds
from benchmarks.report import page
from benchmarks.results import Figures, Result, WrongResult, cells, gather
from benchmarks.rivals import installing, running
from benchmarks.rivals.catalogue import RIVALS
from benchmarks.rivals.installing import OwnPython, Unavailable, cached, execute, pins
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


def test_a_total_is_right_only_with_the_count_and_the_sum() -> None:
    check_total({"count": 2, "sum": 3.0}, {CELL: TRUE})
    for wrong in ({"count": 1, "sum": 3.0}, {"count": 2, "sum": 3.001}):
        with pytest.raises(WrongResult):
            check_total(wrong, {CELL: TRUE})


def test_candidates_are_selected_by_name_in_our_order() -> None:
    assert pipeline.selected(None) == pipeline.CANDIDATES
    assert pipeline.selected("floor, ours") == ("ours", "floor")


def test_a_candidate_that_is_not_there_is_refused_on_the_command_line() -> None:
    shown = CliRunner().invoke(__main__.main, ["pipeline", "--only", "ours,nobody"])
    assert shown.exit_code == click.UsageError.exit_code
    assert "no candidate: nobody" in shown.output


def test_every_candidate_gets_its_number_of_events_on_every_framing() -> None:
    plan = pipeline.Plan(
        events=3,
        long_events=2,
        stock_events=1,
        framings=(1, 100),
        repeats=1,
        seed=7,
        compression="none",
        names=("ours", "faust", "kafka-streams"),
        profile=False,
    )
    assert [(each.label, each.dataset.n) for each in plan.cases()] == [
        ("ours, 1 event a record", 3),
        ("faust, 1 event a record", 1),
        ("kafka-streams, 1 event a record", 2),
        ("ours, 100 events a record", 3),
        ("faust, 100 events a record", 1),
        ("kafka-streams, 100 events a record", 2),
    ]


class _NotToBeHad:
    def install(self) -> list[str]:
        raise Unavailable("the reason")


def test_a_rival_that_cannot_be_installed_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = SimpleNamespace(home=_NotToBeHad())
    monkeypatch.setattr(pipeline, "RIVALS", {**RIVALS, "lost": lost})
    able, left_out = pipeline.install(("ours", "floor", "lost"))
    assert able == ("ours", "floor")
    assert left_out == {"lost": "the reason"}


def test_no_rival_is_a_dependency_of_the_product() -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())
    locked = str(project["project"]) + str(project.get("dependency-groups"))
    for rival in RIVALS.values():
        if isinstance(rival.home, OwnPython):
            assert pins(rival.home.requirements)[0].partition("==")[0] not in locked


def test_the_method_tells_program_and_licence_of_every_rival() -> None:
    for rival in RIVALS.values():
        assert f"| {rival.name} | `{rival.home.program}` |" in pipeline.METHOD
        assert rival.licence in pipeline.METHOD
        assert Path(pipeline.__file__).parents[1].joinpath(rival.home.program).exists()


def test_kafka_streams_is_as_new_as_the_broker() -> None:
    pom = Path(pipeline.__file__).parent / "java" / "streams" / "pom.xml"
    version = ElementTree.parse(pom).findtext("{*}properties/{*}kafka.version")
    assert version == RIVALS["kafka-streams"].version


def test_a_failed_step_of_an_installation_tells_its_last_line() -> None:
    with pytest.raises(Unavailable, match="failed: no network$"):
        execute(sys.executable, "-c", "print('trying'); print('no network'); exit(1)")


def test_the_cache_is_filled_once_and_again_when_an_input_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "cache_root", lambda: tmp_path)
    pinned, fills = tmp_path / "pinned.txt", list[Path]()
    for content in ("1", "1", "2"):
        pinned.write_text(content)
        home = cached("rival", [pinned], fills.append)
    assert fills == [home, home]


def test_what_was_not_filled_to_the_end_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "cache_root", lambda: tmp_path)

    def fail(home: Path) -> None:
        raise Unavailable(f"{home.name} was not filled")

    fills: list[Path] = []
    with pytest.raises(Unavailable):
        cached("rival", [], fail)
    cached("rival", [], fills.append)
    assert len(fills) == 1


RIVAL_PROGRAM = """
import json, pathlib, sys, time
directory = pathlib.Path(sys.argv[1])
def tell(name, text):
    (directory / "partial").write_text(text)
    (directory / "partial").rename(directory / name)
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
tell("began", "")
work(0.1)
tell("half", "6")
work(0.05)
tell("result.json", json.dumps({"count": 10}))
time.sleep(60)
"""


def test_a_run_costs_what_its_program_used_between_its_signs(tmp_path: Path) -> None:
    outcome = running.run([sys.executable, "-c", RIVAL_PROGRAM, str(tmp_path)], 10, tmp_path)
    assert outcome.document == {"count": 10}
    assert outcome.warm_events == 4
    assert 0 <= outcome.warm_cpu_seconds <= outcome.cpu_seconds


def test_a_program_that_ends_without_a_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WrongResult, match="it broke"):
        running.run([sys.executable, "-c", "exit('it broke')"], 10, tmp_path)


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
