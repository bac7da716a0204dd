"""Owns the proof that the HTTP interface keeps its promises: formats, errors, limits, forwarding.

Two workers, each of which owns some of the metrics and has to pass questions on for the others.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import polars as pl
import pyarrow as pa
import pytest

from analytics.topics import owner_partition
from tests.services.flights import all_events, flights, framed
from tests.services.kafka import KafkaServer
from tests.services.loading import Load, wait_applied, wait_counted
from tests.services.workers import PARTITIONS, Deployment, Worker, WorkerFleet
from tests.services.year import WHOLE_YEAR

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

EVENTS = 8_000
JANUARY = {"from": "2013-01-01T00:00:00Z", "to": "2013-02-01T00:00:00Z"}

_FLIGHTS_METRICS = """\
metrics:
  departures:
    where: type == "departure"
    value: data.dep_delay
    dimensions: [source, {origin: data.origin}]
    aggregations: [count, sum, p95]
    topk: {field: data.dest, k: 3}
    window: {size: 1h, grace: 30d}
    retention: 400d
  aircraft:
    dimensions: [{tail: data.tailnum}]
    aggregations: [count]
    window: {size: 5m, grace: 30d}
    retention: 400d
  cancellations:
    where: type == "cancellation"
    dimensions: [source]
    aggregations: [count]
    window: {size: 1h, grace: 30d}
    retention: 400d
"""

#: A metric for each partition of metrics, so that every worker owns some of them.
_NAMES = (f"copy_{number}" for number in range(1_000))
COPIES = [
    next(name for name in _NAMES if owner_partition(name, PARTITIONS) == partition)
    for partition in range(PARTITIONS)
]
_COPY = """\
  {name}:
    dimensions: [source]
    aggregations: [count]
    window: {{size: 1d, grace: 30d}}
    retention: 400d
"""
METRICS = _FLIGHTS_METRICS + "".join(_COPY.format(name=name) for name in COPIES)

QUESTION = {
    "metrics": ["departures"],
    "aggregations": ["count", "sum", "p95", "topk"],
    "groupBy": ["source"],
    "timeRange": JANUARY,
    "step": "24h",
}


@pytest.fixture(scope="module")
def fleet(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerFleet]:
    """Two workers that have folded the first flights of the year."""
    deployment = Deployment(tmp_path_factory.mktemp("http"), kafka.bootstrap, METRICS)
    with deployment.running(2) as workers:
        load = Load(deployment, codec="zstd")
        load.send(framed(all_events()[:EVENTS], 100))
        load.flush()
        wait_applied(deployment, workers)
        for name in ("aircraft", *COPIES):
            wait_counted(workers[0].asking, name, EVENTS)
        cancelled = flights().head(EVENTS)["dep_delay"].null_count()
        wait_counted(workers[0].asking, "cancellations", cancelled)
        wait_counted(workers[0].asking, "departures", EVENTS - cancelled)
        yield workers


@pytest.fixture(params=[0, 1], ids=["one worker", "the other"])
def worker(request: pytest.FixtureRequest, fleet: WorkerFleet) -> Worker:
    number: int = request.param
    return fleet[number]


# --- formats ------------------------------------------------------------------------------------


def test_json_has_columns_rows_buckets_and_meta(worker: Worker) -> None:
    answer = worker.asking.query(QUESTION)
    assert answer["columns"] == [
        {"name": "timestamp", "type": "timestamp_ms"},
        {"name": "source", "type": "string"},
        {"name": "departures.count", "type": "uint64"},
        {"name": "departures.sum", "type": "float64"},
        {"name": "departures.p95", "type": "float64"},
        {"name": "departures.topk", "type": "topk"},
    ]
    assert len(answer["rows"]) > 100
    assert all(len(row) == 6 for row in answer["rows"])
    assert {row[0] for row in answer["rows"]} == {one["timestamp"] for one in answer["buckets"]}
    assert answer["meta"].keys() == {
        *("resolution_ms", "data_through", "lag_ms", "sources"),
        *("late_events", "degraded", "cached", "took_ms"),
    }
    assert answer["meta"]["resolution_ms"] == 3_600_000
    assert answer["meta"]["degraded"] == []


def test_every_format_holds_the_same_rows(worker: Worker) -> None:
    names, rows = _json(worker)

    lines = worker.asking.post(QUESTION, accept="application/x-ndjson")
    assert [list(orjson.loads(line).items()) for line in lines.text.splitlines()] == [
        list(zip(names, row, strict=True)) for row in rows
    ]

    text = worker.asking.post(QUESTION, accept="text/csv")
    header, *records = csv.reader(io.StringIO(text.text, newline=""))
    assert header == names
    assert [
        [int(time), source, int(count), float(sum_), float(p95), orjson.loads(topk)]
        for time, source, count, sum_, p95, topk in records
    ] == rows

    stream = worker.asking.post(QUESTION, accept="application/vnd.apache.arrow.stream")
    with pa.ipc.open_stream(stream.content) as reader:
        _assert_table(pl.DataFrame(pl.from_arrow(reader.read_all())), names, rows)

    file = worker.asking.post(QUESTION, accept="application/vnd.apache.parquet")
    _assert_table(pl.read_parquet(io.BytesIO(file.content)), names, rows)

    for response, content_type in (
        (lines, "application/x-ndjson"),
        (text, "text/csv; charset=utf-8"),
        (stream, "application/vnd.apache.arrow.stream"),
        (file, "application/vnd.apache.parquet"),
    ):
        assert response.headers["content-type"] == content_type
        told = orjson.loads(response.headers["x-analytics-completeness"])
        assert told["meta"]["late_events"] == 0


def test_an_unknown_format_is_not_acceptable(worker: Worker) -> None:
    problem = _problem(worker.asking.post(QUESTION, accept="image/png"), 406)
    assert "text/csv" in problem["detail"]


def test_a_worker_that_was_asked_for_every_format_has_said_no_error(worker: Worker) -> None:
    assert worker.errors == []


# --- questions over several metrics -------------------------------------------------------------


def test_metrics_of_all_owners_are_joined_by_bucket_and_group(worker: Worker) -> None:
    """Each has a metric in every partition, so both workers have to answer for some."""
    question = {
        "metrics": COPIES,
        "aggregations": ["count"],
        "groupBy": ["source"],
        "timeRange": WHOLE_YEAR,
    }
    counts = dict(flights().head(EVENTS).group_by("source").len().iter_rows())
    rows = worker.asking.query(question)["rows"]
    assert {row[1]: row[2:] for row in rows} == {
        source: [count] * PARTITIONS for source, count in counts.items()
    }


def test_what_one_of_two_metrics_does_not_have_is_null(worker: Worker) -> None:
    question = {
        "metrics": ["departures", "cancellations"],
        "aggregations": ["count"],
        "groupBy": ["source"],
        "timeRange": WHOLE_YEAR,
    }
    rows = worker.asking.query(question)["rows"]
    sent = flights().head(EVENTS)
    for column, type_ in ((2, "departure"), (3, "cancellation")):
        counts = sent.filter(pl.col("type") == type_).group_by("source").len()
        found = {row[1]: row[column] for row in rows if row[column] is not None}
        assert found == dict(counts.iter_rows())
    assert any(row[3] is None for row in rows)


def test_order_and_limit_hold_over_the_whole_answer(worker: Worker) -> None:
    rows = worker.asking.query(
        {
            "metrics": ["departures"],
            "aggregations": ["count"],
            "groupBy": ["source"],
            "timeRange": WHOLE_YEAR,
            "orderBy": [{"field": "departures.count", "direction": "desc"}],
            "limit": 3,
        }
    )["rows"]
    counts = flights().head(EVENTS).filter(pl.col("type") == "departure").group_by("source").len()
    expected = counts.sort("len", descending=True).head(3)
    assert [row[1:] for row in rows] == [list(row) for row in expected.iter_rows()]


def test_the_list_of_metrics_tells_of_each_from_its_owner(worker: Worker) -> None:
    response = worker.asking.get("/v1/metrics")
    told = {one["name"]: one for one in response.json()["metrics"]}
    assert told.keys() == {"departures", "aircraft", "cancellations", *COPIES}
    sent = flights().head(EVENTS)
    assert told["aircraft"]["series"] == sent["tailnum"].fill_null("").n_unique()
    assert told["departures"]["late_events"] == 0
    assert told["departures"]["dimensions"] == [
        {"name": "source", "field": "source"},
        {"name": "origin", "field": "data.origin"},
    ]


# --- mistakes -----------------------------------------------------------------------------------


def test_every_mistake_in_a_question_is_named_with_its_place(worker: Worker) -> None:
    wrong = {
        "metrics": ["departures"],
        "aggregations": ["cuont", "p95"],
        "filters": [{"field": "sorce", "op": "eq", "value": "UA"}],
        "groupBy": ["origin", "dest"],
        "timeRange": JANUARY,
        "step": "90m",
        "limit": -1,
        "colour": "red",
    }
    problem = _problem(worker.asking.post(wrong), 422)
    told = {one["pointer"]: one["message"] for one in problem["errors"]}
    assert told.keys() == {
        *("/aggregations/0", "/filters/0/field", "/groupBy/1", "/step", "/limit", "/colour"),
    }
    assert "count" in told["/aggregations/0"]
    assert "source" in told["/filters/0/field"]


def test_an_unknown_metric_is_answered_with_the_nearest(worker: Worker) -> None:
    wrong = {"metrics": ["departure"], "timeRange": JANUARY}
    problem = _problem(worker.asking.post(wrong), 422)
    assert problem["errors"][0]["pointer"] == "/metrics/0"
    assert "departures" in problem["errors"][0]["message"]


def test_a_metric_that_does_not_exist_is_not_found_by_name(worker: Worker) -> None:
    problem = _problem(worker.asking.get("/v1/metrics/departure", last="1h"), 404)
    assert "departure" in problem["detail"]


def test_wrong_parameters_are_named_by_parameter(worker: Worker) -> None:
    problem = _problem(worker.asking.get("/v1/metrics/departures", groupBy="dest", steps="1h"), 422)
    assert any("steps" in one["pointer"] for one in problem["errors"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{not JSON", 400),
        (b"", 400),
        (b"[]", 422),
        (b'{"metrics": "' + b"x" * (1 << 20) + b'"}', 413),
    ],
    ids=["not JSON", "nothing", "a list", "too large"],
)
def test_a_body_that_is_no_question_is_refused(worker: Worker, body: bytes, status: int) -> None:
    response = httpx.post(f"{worker.asking.url}/v1/query", content=body, trust_env=False)
    _problem(response, status)


def test_too_large_a_question_is_refused_with_estimate_and_limit(worker: Worker) -> None:
    """Only the owner can tell, and what it says reaches whoever asked."""
    huge = {"metrics": ["aircraft"], "groupBy": ["tail"], "timeRange": JANUARY, "step": "5m"}
    problem = _problem(worker.asking.post(huge), 422)
    [mistake] = problem["errors"]
    assert mistake["pointer"] == "/groupBy"
    assert "the limit is 1,000,000" in mistake["message"]


def _problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document that a response must be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "errors"} <= document.keys()
    assert document["status"] == status
    return document


def _json(worker: Worker) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows of the JSON answer."""
    answer = worker.asking.query(QUESTION)
    return [column["name"] for column in answer["columns"]], answer["rows"]


def _assert_table(table: pl.DataFrame, names: list[str], rows: list[list[Any]]) -> None:
    assert table.columns == names
    assert table.schema["timestamp"] == pl.Datetime("ms", "UTC")
    assert table.schema["departures.count"] == pl.UInt64()
    plain = table.with_columns(pl.col("timestamp").dt.epoch("ms"))
    assert [list(row) for row in plain.iter_rows()] == rows
