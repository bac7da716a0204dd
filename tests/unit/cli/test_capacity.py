"""The plan on paper: what follows from what, and numbers that cannot be."""

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from analytics.cli import main
from analytics.core.capacity import Assumptions, Costs, Load, Plan
from tests.house.sources import ROOT

PLAN = Plan()
SHOWN = re.compile(r"```sh\nanalytics (capacity[^\n]*)\n```\n\n```text\n(.*?)```", re.DOTALL)


def figures(*arguments: str) -> dict[str, float]:
    result = CliRunner().invoke(main, ["capacity", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return {line["name"]: line["amount"] for line in json.loads(result.output)}


def test_cpu_is_that_of_the_benchmarks_where_the_load_is_theirs() -> None:
    costs = Costs(cpu_framed_us=5, cpu_single_us=9, cpu_metric_us=0.5)
    load = Load(metrics=1, framing=100)
    assert Plan(load, costs).cpu_us == pytest.approx(5)
    assert Plan(replace(load, framing=1), costs).cpu_us == pytest.approx(9)
    assert Plan(replace(load, metrics=3), costs).cpu_us == pytest.approx(6)


def test_workers_brokers_and_money_grow_with_the_rate() -> None:
    few, many = (Plan(Load(rate=rate, metrics=1, series=1)) for rate in (10**6, 10**7))
    assert many.workers == pytest.approx(10 * few.workers, rel=0.2)
    assert many.brokers > few.brokers >= few.assumptions.replication
    assert many.events_mb_s == 10 * few.events_mb_s == 10_000


def test_a_partition_has_no_more_series_than_events() -> None:
    sparse = Plan(Load(series=10**9, metrics=1))
    assert sparse.rows(10) == pytest.approx(10 * sparse.load.rate)
    assert Plan(Load(series=10, metrics=2, partitions=8)).rows(10) == 10 * 2 * 8
    assert Plan(Load(series=80, metrics=2, partitions=8, spread=1 / 8)).rows(10) == 80 * 2


def test_memory_is_what_decides_where_queries_look_far_back() -> None:
    long = Plan(Load(series=100_000, retention_s=7 * 86_400))
    assert long.memory_bytes > 100 * PLAN.memory_bytes
    assert long.machine_cpus > long.workers


def test_a_fleet_larger_than_its_partitions_is_refused() -> None:
    result = CliRunner().invoke(main, ["capacity", "--partitions", "2"])
    assert result.exit_code == 2
    assert "--partitions 2: it takes" in result.output


def test_the_ends_of_all_ranges_make_a_plan() -> None:
    most = Plan(
        Load(rate=1e15, event_bytes=1e15, partitions=10**15, metrics=10**15, window_s=1e-9),
        Costs(cpu_single_us=1e15, series_bytes=1e15),
        Assumptions(utilisation=1e-9, broker_mb_s=1e-9, cpu_gb=1e-9),
    )
    assert all(line.amount < float("inf") for line in most.lines())


def test_nothing_crosses_a_single_zone() -> None:
    assert PLAN.crossing_mb_s == 0
    assert Plan(assumptions=Assumptions(zones=3)).crossing_mb_s > PLAN.events_mb_s


def test_the_sum_is_the_sum() -> None:
    bill = list(Plan(assumptions=Assumptions(zones=3)).bill())
    assert bill[-1].name == "cost together"
    assert bill[-1].amount == pytest.approx(sum(line.amount for line in bill[:-1]))
    assert all(line.amount > 0 for line in bill)


def test_every_number_is_an_option_and_the_plan_says_where_each_figure_is_from() -> None:
    assert figures("--rate", "1000", "--partitions", "8")["workers"] == 1
    assert figures("--cpu-usd", "70")["cost together"] > figures()["cost together"]
    text = CliRunner().invoke(main, ["capacity"]).output
    assert "1,000,000 events/s" in text
    assert "60% of a CPU each" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "0"],
        ["--rate", "-1"],
        ["--framing", "101"],
        ["--utilisation", "1.5"],
        ["--compression", "0.5"],
        ["--series", "many"],
        ["--rate", "nan"],
        ["--rate", "inf"],
        ["--rate", "1e308"],
        ["--utilisation", "1e-300"],
        ["--partitions", "1e3"],
    ],
)
def test_a_number_that_cannot_be_is_refused_by_its_name(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["capacity", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.output


def test_the_page_shows_what_the_commands_on_it_print() -> None:
    shown = SHOWN.findall((ROOT / "docs" / "capacity.md").read_text())
    assert len(shown) > 2
    for command, output in shown:
        assert CliRunner().invoke(main, command.split()).output == output
