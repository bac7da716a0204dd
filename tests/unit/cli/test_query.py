"""Tests of `analytics query` and `tail` against a stand-in worker."""

import json

import click
import pytest
from click.testing import CliRunner, Result

from analytics.cli import main
from analytics.cli.question import Question, filters
from analytics.settings import Settings
from tests.unit.cli.worker import REPLY, stand_in

QUERY = ["query", "--metric", "departures"]


def ask(*arguments: str, **environ: str) -> Result:
    """Run the program as from a pipe."""
    return CliRunner().invoke(main, arguments, env=environ)


def test_options_become_a_document() -> None:
    with stand_in() as worker:
        result = ask(
            *QUERY, "--function", "count,p95", "--function", "max", "--group-by", "source,origin",
            "--filter", "source=UA", "--filter", "source=AA", "--filter", "origin!=JFK",
            "--step", "1m", "--last", "1h", "--url", worker.url,
        )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert worker.asked == [
        {
            "metrics": ["departures"],
            "aggregations": ["count", "p95", "max"],
            "groupBy": ["source", "origin"],
            "filters": [
                {"field": "source", "op": "in", "value": ["UA", "AA"]},
                {"field": "origin", "op": "not_in", "value": ["JFK"]},
            ],
            "timeRange": {"last": "1h"},
            "step": "1m",
        }
    ]


def test_without_a_range_the_last_quarter_of_an_hour_is_asked() -> None:
    with stand_in() as worker:
        ask(*QUERY, "--url", worker.url)

    assert worker.asked == [{"metrics": ["departures"], "timeRange": {"last": "15m"}}]


def test_a_range_takes_digits_as_milliseconds_and_leaves_other_times_alone() -> None:
    with stand_in() as worker:
        ask(*QUERY, "--from", "1795478400000", "--to", "2026-11-24T01:00Z", "--url", worker.url)

    (document,) = worker.asked
    assert document["timeRange"] == {"from": 1795478400000, "to": "2026-11-24T01:00Z"}


@pytest.mark.parametrize(
    "time", [["--last", "5m", "--from", "0"], ["--to", "0"]], ids=["last and from", "to alone"]
)
def test_a_range_that_contradicts_itself_is_wrong_use(time: list[str]) -> None:
    assert ask(*QUERY, *time).exit_code == 2


def test_a_plain_table_is_aligned_and_says_how_complete_it_is() -> None:
    with stand_in() as worker:
        result = ask(*QUERY, "--url", worker.url)

    assert result.output.splitlines() == [
        "timestamp             source  departures.count  departures.p95  state",
        "2026-11-24 00:00:00Z  UA                 1,412           87.25  final",
        "2026-11-24 00:00:00Z  AA                     3               -  final",
        "complete through 2026-11-24 00:01:00.250Z, 1,180 ms ago; 2 late events left out",
    ]


def test_json_and_csv_are_passed_on_as_they_come() -> None:
    with stand_in() as worker:
        as_json = ask(*QUERY, "--format", "json", "--url", worker.url)
        worker.body = b"timestamp,departures.count\n1795478400000,412\n"
        as_csv = ask(*QUERY, "--format", "csv", "--url", worker.url)

    assert json.loads(as_json.output) == REPLY
    assert as_csv.output == "timestamp,departures.count\n1795478400000,412\n"
    assert worker.accepted == ["application/json", "text/csv"]


def test_a_wrong_question_is_a_line_for_each_mistake_and_2() -> None:
    errors = [
        {"pointer": "/metrics/0", "message": "unknown metric 'departurs'"},
        {"pointer": "/step", "message": "must be a multiple of 10s"},
    ]
    problem = {"title": "Unprocessable", "status": 422, "detail": "x", "errors": errors}
    with stand_in(422, problem) as worker:
        result = ask(*QUERY, "--url", worker.url)

    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "analytics: /metrics/0: unknown metric 'departurs'",
        "analytics: /step: must be a multiple of 10s",
    ]


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, {"title": "x", "detail": "moving between workers"}), (500, b"oops"), (200, b"<html>")],
)
def test_a_server_in_trouble_is_a_line_and_1(status: int, body: object) -> None:
    with stand_in(status, body) as worker:
        result = ask(*QUERY, "--url", worker.url)

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"analytics: {worker.url} ")


def test_the_port_of_the_settings_is_asked_when_no_url_is_given() -> None:
    with stand_in() as worker:
        result = ask(*QUERY, ANALYTICS_PORT=str(worker.port))

    assert result.exit_code == 0
    assert len(worker.asked) == 1


def test_nobody_at_the_port_is_a_line_and_1() -> None:
    with stand_in() as worker:
        free = str(worker.port)

    result = ask(*QUERY, ANALYTICS_PORT=free)

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_without_a_port_a_worker_comes_before_a_gateway() -> None:
    question = Question(("departures",), (), (), (), None)
    here = Settings()

    assert question.urls(here) == ("http://127.0.0.1:6066", "http://127.0.0.1:8080")


def test_an_ordering_is_a_filter_of_its_own() -> None:
    assert filters(["size>=10", "size < 20"]) == [
        {"field": "size", "op": "ge", "value": "10"},
        {"field": "size", "op": "lt", "value": "20"},
    ]


@pytest.mark.parametrize("text", ["source", "=UA", ""])
def test_a_filter_without_its_parts_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="DIMENSION=VALUE"):
        filters([text])


def test_tail_shows_rows_without_times_until_its_duration_is_over() -> None:
    with stand_in() as worker:
        result = ask("tail", "--metric", "departures", "--duration", "0.1", "--url", worker.url)

    assert result.exit_code == 0, result.output
    assert worker.asked == [{"metrics": ["departures"], "timeRange": {"last": "1m"}}]
    assert "  source=UA departures.count=1,412 departures.p95=87.25" in result.output.splitlines()
