"""Owns the pure parts of the sweeps and of `query`: events, metrics, truth, points; no Kafka."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from analytics.core.definitions.metric import parse_metrics
from benchmarks import __main__, events, report
from benchmarks.candidates.paced import PROBE, Pace
from benchmarks.dataset import Dataset
from benchmarks.live import questions as asked
from benchmarks.live.query import Plan
from benchmarks.processes import peak_bytes, resident_bytes
from benchmarks.results import Figures, Result, WrongResult, save
from benchmarks.sweeps import cardinality, memory, metrics, partitions, size, truth, workers
from benchmarks.sweeps.accounts import BYTES_MIN, Accounts
from benchmarks.sweeps.definitions import WHOLE_MS, Condition, Definition, by_account, yaml_of
from benchmarks.sweeps.engine import CPU, Load, late_seconds, shown_of
from benchmarks.sweeps.fleet import is_shared_out
from benchmarks.sweeps.mixture import METRICS_MAX, mixture
from benchmarks.sweeps.truth import Question, check, questions, truths

N = 500
LOAD = Load(events=N, framing=100, repeats=1, seed=7)


def accounts_of(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["data"]["account"] for line in lines]


@pytest.mark.parametrize("event_bytes", [BYTES_MIN, 1_000, 16_000])
def test_an_event_of_an_account_has_exactly_the_size_asked_for(event_bytes: int) -> None:
    for _, line in Accounts(50, event_bytes).lines(N, 7):
        assert len(line) == event_bytes
        assert json.loads(line)["data"].keys() >= {"amount", "country", "account"}


def test_every_account_comes_once_before_any_comes_again() -> None:
    accounts = accounts_of([line for _, line in Accounts(50, BYTES_MIN).lines(150, 7)])
    for begin in (0, 50, 100):
        assert len(set(accounts[begin : begin + 50])) == 50
    assert accounts[:50] != accounts[50:100]


def test_an_account_is_always_in_the_same_country() -> None:
    lines = [json.loads(line)["data"] for _, line in Accounts(50, BYTES_MIN).lines(N, 7)]
    assert len({(data["account"], data["country"]) for data in lines}) == 50


def test_a_seed_gives_the_same_accounts_every_time() -> None:
    content = Accounts(50, BYTES_MIN)
    assert list(content.lines(N, 7)) == list(content.lines(N, 7))
    assert list(content.lines(N, 7)) != list(content.lines(N, 8))


def test_accounts_are_refused_without_series_or_in_too_few_bytes() -> None:
    for series, event_bytes in ((0, BYTES_MIN), (1, BYTES_MIN - 1)):
        with pytest.raises(ValueError, match="at least"):
            Accounts(series, event_bytes)


def test_the_ordinary_dataset_is_what_it_always_was() -> None:
    dataset = Dataset(250, 100, 7, "none")
    lines = list(events.lines(250, 7))
    assert dataset.prefix == "n250-by100-none-"
    assert list(dataset.records()) == [
        (0, b"\n".join(lines[:100])),
        (1, b"\n".join(lines[100:200])),
        (2, b"\n".join(lines[200:])),
    ]


def test_events_without_a_key_go_round_the_partitions_there_are() -> None:
    dataset = Dataset(6, 1, 7, "none", partitions=2)
    assert [partition for partition, _ in dataset.records()] == [0, 1, 0, 1, 0, 1]


def test_all_events_of_an_account_are_in_one_partition_if_they_have_a_key() -> None:
    for keyed in (True, False):
        dataset = Dataset(N, 10, 7, "none", Accounts(50, BYTES_MIN, keyed=keyed))
        places = {
            (account, partition)
            for partition, record in dataset.records()
            for account in accounts_of(record.split(b"\n"))
        }
        assert (len(places) == 50) is keyed


def test_datasets_that_differ_have_topics_of_their_own() -> None:
    contents = (events.ORDERS, Accounts(5, 200), Accounts(6, 200), Accounts(5, 300))
    datasets = [Dataset(N, 1, 7, "none", content) for content in contents]
    datasets += [replace(datasets[1], content=Accounts(5, 200, keyed=False))]
    datasets += [replace(datasets[1], partitions=2)]
    assert len({dataset.topic for dataset in datasets}) == len(datasets)


def test_the_mixture_is_what_the_product_takes_for_metrics() -> None:
    definitions = mixture(METRICS_MAX)
    parsed = parse_metrics(yaml.safe_load(yaml_of(definitions)), "metrics.yaml")
    assert len({metric.key for metric in parsed}) == METRICS_MAX
    assert Counter(metric.has_registers for metric in parsed)[True] == 1
    assert Counter(metric.has_topk for metric in parsed)[True] == 1
    assert all(WHOLE_MS % metric.window.size_ms == 0 for metric in parsed)
    assert events.START_MS % WHOLE_MS == 0


def test_no_metric_of_the_mixture_is_there_twice() -> None:
    definitions = mixture(METRICS_MAX)
    assert len({replace(one, name="") for one in definitions}) == METRICS_MAX
    assert mixture(10) == definitions[:10]


@pytest.mark.parametrize("n", [0, METRICS_MAX + 1])
def test_there_are_no_more_metrics_than_the_mixture_has(n: int) -> None:
    with pytest.raises(ValueError, match="1 to 50"):
        mixture(n)


def test_the_truth_of_a_sweep_is_that_of_the_pipeline_where_both_are_known() -> None:
    (found,) = truths(mixture(1), events.lines(N, 7)).values()
    expected = events.truth(N, 7)
    assert found.keys() == {tuple(cell) for cell in expected}
    for cell, totals in expected.items():
        assert len(found[tuple(cell)].values) == totals.count
        assert sum(found[tuple(cell)].values) == pytest.approx(totals.sum)


def event(amount: float, second: int = 0, kind: str = "view", user: str = "u") -> bytes:
    timestamp = events.rfc3339(events.START_MS + second * 1000)
    data = {"amount": amount, "user": user}
    return json.dumps({"timestamp": timestamp, "type": kind, "data": data}).encode()


EVERYTHING = Definition(
    name="everything",
    dimensions=("type",),
    aggregations=("count", "sum", "min", "max", "avg", "p95"),
    window_ms=10_000,
    where=Condition("data.amount > 0", lambda one: one["data"]["amount"] > 0),
    distinct="data.user",
    topk="data.user",
)
LINES = [event(1.0), event(-9.0), event(3.0, user="v"), event(5.0, second=10)]
TRUE = truths([EVERYTHING], LINES)["everything"]
ROWS: list[list[Any]] = [
    [
        events.START_MS,
        "view",
        *(2, 4.0, 1.0, 3.0, 2.0, 1.0, 2),
        [{"value": "u", "count": 1}, {"value": "v", "count": 1}],
    ],
    [events.START_MS + 10_000, "view", 1, 5.0, 5.0, 5.0, 5.0, 5.0, 1, [{"value": "u", "count": 1}]],
]


def test_a_condition_keeps_events_out_of_the_truth() -> None:
    assert [sorted(group.values) for group in TRUE.values()] == [[1.0, 3.0], [5.0]]


def test_an_answer_that_is_the_truth_passes() -> None:
    check(Question(EVERYTHING, ""), ROWS, TRUE)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(2, 3), (3, 4.1), (4, 1.1), (5, 2.9), (6, 2.1), (7, 1.02), (8, 4), (9, [])],
)
def test_an_answer_that_is_off_anywhere_is_an_error(place: int, wrong: object) -> None:
    row = [*ROWS[0][:place], wrong, *ROWS[0][place + 1 :]]
    with pytest.raises(WrongResult, match="everything"):
        check(Question(EVERYTHING, ""), [row, ROWS[1]], TRUE)


@pytest.mark.parametrize("rows", [ROWS[:1], [*ROWS, ROWS[0]]])
def test_an_answer_with_too_few_rows_or_one_twice_is_an_error(rows: list[list[Any]]) -> None:
    with pytest.raises(WrongResult, match="missing"):
        check(Question(EVERYTHING, ""), rows, TRUE)


def test_questions_cover_every_cell_within_the_limit_of_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(truth, "ROWS_MAX", 10)
    definition = by_account(25, "count")
    (cells,) = truths([definition], (line for _, line in Accounts(25, 200).lines(50, 7))).values()
    asked_for = list(questions(definition, cells))
    covered = [cell for one in asked_for for cell in cells if cell[-1].startswith(one.prefix)]
    assert sorted(covered) == sorted(cells)
    assert [one.prefix for one in asked_for] == ["a-000000", "a-000001", "a-000002"]


def test_a_metric_without_cells_is_asked_for_all_the_same() -> None:
    assert [one.prefix for one in questions(EVERYTHING, {})] == [""]


def test_points_of_a_repeat_are_compared_with_the_base_of_the_same_repeat() -> None:
    measured = {"a": {CPU: 4.0, "peak": 1.0}, "b": {CPU: 2.0}}
    assert list(shown_of(measured, (CPU,), "b")) == [
        ("a", {CPU: 4.0, "times b": 2.0}),
        ("b", {CPU: 2.0, "times b": 1.0}),
    ]
    assert list(shown_of(measured, ("peak",), "c")) == [("a", {"peak": 1.0}), ("b", {})]


def test_the_late_part_of_a_run_lies_between_two_samples_of_it() -> None:
    samples = [(0, 0.0), (60, 5.0), (70, 6.0), (90, 8.0), (99, 20.0), (100, 30.0)]
    assert late_seconds(samples, 100) == pytest.approx(0.1)


@pytest.mark.parametrize("samples", [[], [(100, 1.0)], [(0, 0.0), (60, 5.0), (79, 6.0)]])
def test_a_late_part_that_was_hardly_seen_is_none(samples: list[tuple[int, float]]) -> None:
    assert late_seconds(samples, 100) is None


def test_every_sweep_has_its_base_among_its_points() -> None:
    sweeps = (
        cardinality.sweep(LOAD, cardinality.SERIES, 950, spread=False),
        metrics.sweep(LOAD, metrics.COUNTS),
        size.sweep(LOAD, size.SIZES),
        partitions.sweep(LOAD, partitions.COUNTS),
        workers.sweep(LOAD, workers.COUNTS),
    )
    for each in sweeps:
        assert each.base in {point.label for point in each.points}
        for point in each.points:
            assert point.definitions[0].where is None  # it counts every event
            parse_metrics(yaml.safe_load(yaml_of(point.definitions)), "metrics.yaml")


def test_memory_is_measured_with_as_many_events_whatever_the_series() -> None:
    points = memory.sweep(LOAD, 2_000).points
    assert [point.label.split(" ")[0] for point in points] == [
        *("1,000", "2,000", "2,000", "400"),
    ]
    assert {point.dataset.n for point in points} == {4_000}


def test_a_record_of_long_events_stays_within_what_kafka_takes() -> None:
    assert [size.framing(100, each) for each in size.SIZES] == [100, 100, 25, 6]


def test_partitions_are_shared_out_when_all_are_held_and_no_worker_has_too_many() -> None:
    assert is_shared_out([(4, 4), (4, 4)], 8)
    assert is_shared_out([(3, 3), (3, 2), (2, 3)], 8)
    assert not is_shared_out([(8, 8), (0, 0)], 8)
    assert not is_shared_out([(4, 4), (4, 3)], 8)


def pace(series: int) -> Pace:
    return Pace(
        bootstrap="", topic="", start_ms=0, rate=100, seconds=2, framing=10, seed=7, series=series
    )


def test_a_paced_load_has_probes_or_accounts() -> None:
    probing, accounts = list(pace(0).lines()), list(pace(20).lines())
    assert len(probing) == len(accounts) == 200
    assert sum(json.loads(line)["type"] == PROBE for line in probing) == 40
    assert len(set(accounts_of(accounts))) == 20
    assert json.loads(accounts[150])["timestamp"] == events.rfc3339(1500)


def test_the_greatest_sums_are_right_in_any_order_of_equal_ones() -> None:
    amounts = {"a": [5.0], "b": [2.0, 3.0], "c": [1.0]}
    cells: Any = {(0, "AT", name): SimpleNamespace(values=each) for name, each in amounts.items()}
    rows = [[0, "b", 5.0, 2], [0, "a", 5.0, 1], [0, "c", 1.0, 1]]
    asked.check_top(rows, cells)
    for wrong in (rows[:2], [rows[2], *rows[:2]], [[0, "b", 5.0, 3], *rows[1:]]):
        with pytest.raises(WrongResult):
            asked.check_top(wrong, cells)


def test_events_come_for_as_long_as_questions_are_asked() -> None:
    plan = Plan(series=(10,), rate=100, warmup=60, seconds=10, repeats=1, seed=7)
    phases = [(each.name, load.label) for each, load in plan.phases()]
    assert len(set(phases)) == 7
    assert plan.fed_seconds_max > 60 + 7 * 10


def test_lists_of_points_are_read_and_mistakes_told() -> None:
    for given in ("", "1,x", "0", "2,2"):
        shown = CliRunner().invoke(__main__.main, ["partitions", "--partitions", given])
        assert shown.exit_code == click.UsageError.exit_code
        assert "numbers" in shown.output


@pytest.mark.parametrize("arguments", [["metrics", "--metrics", "51"], ["size", "--sizes", "10"]])
def test_points_that_cannot_be_are_refused_on_the_command_line(arguments: list[str]) -> None:
    assert CliRunner().invoke(__main__.main, arguments).exit_code == click.UsageError.exit_code


def test_a_process_has_memory_and_a_peak_of_it() -> None:
    held = bytearray(os.urandom(1 << 22))
    assert resident_bytes(os.getpid()) > len(held)
    assert peak_bytes(os.getpid()) > len(held)
    with pytest.raises(ProcessLookupError):
        resident_bytes(2**22 + 1)  # beyond the greatest process id of Linux


def test_a_result_that_was_never_kept_has_no_section(tmp_path: Path) -> None:
    figures = [Figures("1 metric", {CPU: [9.0]})]
    kept = Result("metrics", "python -m benchmarks metrics", "2026-01-05", {}, {}, {}, figures)
    save(kept, tmp_path / "metrics.json")
    common, shown = report.sections(tmp_path)
    assert common.startswith(f"## {report.SWEEPS_HEADING}")
    assert shown.startswith("## What many metrics cost")
    assert list(report.sections(tmp_path / "nothing")) == []


def test_every_section_of_the_page_is_that_of_a_command() -> None:
    assert {name for name, _, _ in report.SECTIONS} == set(__main__.main.commands) - {"report"}
    assert len(report.SECTIONS) == len(__main__.main.commands) - 1
