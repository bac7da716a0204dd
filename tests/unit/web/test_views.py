"""Every route of a worker, asked over HTTP: answers, error documents, formats and sizes."""

from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from aiohttp import ClientResponse
from faust.types import TP

from tests.unit.web.rooms import TOPICS, Client, Room, document, question
from web import views
from web.peers import PART_HEADER
from web.views import COMPLETENESS_HEADER, DOCUMENT_BYTES_MAX


async def problem(response: ClientResponse, status: int) -> Any:
    """The problem document of an error, which must be one of ours."""
    assert response.status == status
    assert response.content_type == "application/problem+json"
    told = await document(response)
    assert told["status"] == status and told["title"] and told["type"] == "about:blank"
    return told


# --- POST /v1/query -------------------------------------------------------------------------------


async def test_a_query_is_answered_with_rows_and_how_complete_they_are(client: Client) -> None:
    response = await client.post("/v1/query", json=question("delays", step="10s"))
    assert (response.status, response.content_type) == (200, "application/json")
    told = await document(response)
    assert [column["name"] for column in told["columns"]] == ["timestamp", "source", "delays.count"]
    assert sorted(told["rows"]) == [[0, "AA", 1], [0, "UA", 1], [10_000, "UA", 1]]
    assert told["buckets"] == [
        {"timestamp": 0, "state": "final"},
        {"timestamp": 10_000, "state": "open"},
    ]
    assert told["meta"]["data_through"] == 15_000
    assert told["meta"]["took_ms"] > 0
    assert COMPLETENESS_HEADER not in response.headers


async def test_a_metric_that_nothing_was_heard_of_yet_has_no_rows(
    client: Client, room: Room
) -> None:
    room.states["delays"] = None
    told = await document(await client.post("/v1/query", json=question("delays")))
    assert told["rows"] == []
    assert told["meta"]["data_through"] is None


async def test_every_mistake_of_a_question_is_told_with_its_place(client: Client) -> None:
    asked = question("delayz", groupBy=["nothing"], limit=-1)
    told = await problem(await client.post("/v1/query", json=asked), 422)
    pointers = {one["pointer"] for one in told["errors"]}
    assert "/metrics/0" in pointers and "/limit" in pointers
    assert any("delays" in one["message"] for one in told["errors"])  # the nearest name


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"metrics": [NaN]}'])
async def test_what_is_not_json_is_a_bad_request(client: Client, body: bytes) -> None:
    told = await problem(await client.post("/v1/query", data=body), 400)
    assert "not JSON" in told["detail"]


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"delays"'])
async def test_json_that_is_no_question_is_told_so(client: Client, body: bytes) -> None:
    await problem(await client.post("/v1/query", data=body), 422)


def padded(size: int) -> bytes:
    body = orjson.dumps(question("delays"))
    return body[:-1] + b" " * (size - len(body)) + b"}"


async def in_parts(body: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(body), 100_000):
        yield body[first : first + 100_000]


async def test_a_large_question_that_arrives_in_parts_is_read_whole(client: Client) -> None:
    response = await client.post("/v1/query", data=in_parts(padded(DOCUMENT_BYTES_MAX)))
    assert response.status == 200


async def test_a_question_beyond_the_limit_is_refused(client: Client) -> None:
    response = await client.post("/v1/query", data=in_parts(padded(DOCUMENT_BYTES_MAX + 1)))
    told = await problem(response, 413)
    assert "1048576 bytes" in told["detail"]
    assert (await client.post("/v1/query", json=question("delays"))).status == 200


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("text/csv;q=0.1, application/x-ndjson", "application/x-ndjson"),
    ],
)
async def test_an_answer_has_the_format_that_was_asked_for(
    client: Client, accept: str, content_type: str
) -> None:
    headers = {"Accept": accept}
    response = await client.post("/v1/query", json=question("delays"), headers=headers)
    assert (response.status, response.content_type) == (200, content_type)
    assert await response.read()
    if content_type != "application/json":
        complete = orjson.loads(response.headers[COMPLETENESS_HEADER])
        assert complete["meta"]["data_through"] == 15_000


async def test_a_format_that_is_unknown_is_refused(client: Client) -> None:
    headers = {"Accept": "image/png"}
    await problem(await client.post("/v1/query", json=question("delays"), headers=headers), 406)


async def test_order_and_limit_hold_for_people_and_not_for_other_workers(client: Client) -> None:
    asked = question("delays", limit=1, orderBy=[{"field": "delays.count", "direction": "desc"}])
    told = await document(await client.post("/v1/query", json=asked))
    assert [row[-1] for row in told["rows"]] == [2]
    headers = {PART_HEADER: "1"}
    told = await document(await client.post("/v1/query", json=asked, headers=headers))
    assert sorted(row[-1] for row in told["rows"]) == [1, 2]


async def test_a_part_that_is_not_here_is_refused_and_never_relayed(
    client: Client, other: Client
) -> None:
    headers = {PART_HEADER: "1"}
    asked = question("cancelled")
    response = await client.post("/v1/query", json=asked, headers=headers)
    told = await problem(response, 503)
    assert "moving" in told["detail"]
    assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize("method", ["get", "put", "delete"])
async def test_a_query_is_posted(client: Client, method: str) -> None:
    assert (await client.request(method, "/v1/query")).status == 405


# --- GET /v1/metrics ------------------------------------------------------------------------------


async def test_all_metrics_are_listed_and_what_is_not_known_is_null(client: Client) -> None:
    told = await document(await client.get("/v1/metrics"))
    assert [one["name"] for one in told["metrics"]] == ["delays", "cancelled"]
    delays, cancelled = told["metrics"]
    assert (delays["series"], delays["watermark"]) == (3, 15_000)
    assert (cancelled["series"], cancelled["watermark"]) == (None, None)


async def test_one_metric_is_described_by_its_name(client: Client) -> None:
    told = await document(await client.get("/v1/metrics", params={"name": "delays"}))
    assert [one["name"] for one in told["metrics"]] == ["delays"]
    told = await problem(await client.get("/v1/metrics", params={"name": "nothing"}), 404)
    assert "nothing" in told["detail"]


async def test_a_description_for_another_worker_comes_from_the_owner_or_not_at_all(
    client: Client,
) -> None:
    headers, params = {PART_HEADER: "1"}, {"name": "cancelled"}
    await problem(await client.get("/v1/metrics", params=params, headers=headers), 503)


async def test_a_metric_is_asked_by_parameters(client: Client) -> None:
    params = {"from": "0", "to": "60000", "groupBy": "source", "function": "count,avg"}
    told = await document(await client.get("/v1/metrics/delays", params=params))
    names = [column["name"] for column in told["columns"]]
    assert names == ["timestamp", "source", "delays.count", "delays.avg"]
    assert sorted(told["rows"]) == [[0, "AA", 1, 7.0], [0, "UA", 2, 3.0]]


async def test_parameters_that_are_wrong_are_told(client: Client) -> None:
    await problem(await client.get("/v1/metrics/nothing"), 404)
    told = await problem(await client.get("/v1/metrics/delays", params={"form": "0"}), 422)
    assert any("from" in one["message"] for one in told["errors"])
    await problem(await client.get("/v1/metrics/delays", params={"step": "7s"}), 422)


# --- health ---------------------------------------------------------------------------------------


async def test_a_process_that_answers_is_alive(client: Client) -> None:
    response = await client.get("/livez")
    assert (response.status, await document(response)) == (200, {"status": "ok"})


async def test_a_worker_that_serves_its_share_is_ready(client: Client) -> None:
    response = await client.get("/readyz")
    assert response.status == 200
    assert await document(response) == {
        "status": "ready",
        "reasons": [],
        "source_partitions": [0],
        "metric_partitions": [],
    }


async def test_a_worker_is_not_ready_while_partitions_move(client: Client, room: Room) -> None:
    room.status.rebalancing = True
    room.status.tables.actives_ready = False
    response = await client.get("/readyz")
    assert response.status == 503
    assert len((await document(response))["reasons"]) == 2


async def test_a_worker_is_not_ready_while_it_does_not_serve_what_it_was_given(
    client: Client, room: Room
) -> None:
    room.status.consumer.assignment = lambda: {TP(TOPICS.events, 0), TP(TOPICS.partials, 3)}
    response = await client.get("/readyz")
    assert response.status == 503
    assert "[3]" in (await document(response))["reasons"][0]


async def test_metrics_of_the_process_include_how_long_queries_took(client: Client) -> None:
    await client.post("/v1/query", json=question("delays"))
    await client.post("/v1/query", data=b"{")
    response = await client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    text = await response.text()
    assert 'analytics_query_seconds_count{status="200"} 1.0' in text
    assert 'analytics_query_seconds_count{status="400"} 1.0' in text


async def test_a_fault_of_ours_is_answered_without_its_details(client: Client) -> None:
    with patch.object(views, "render", side_effect=RuntimeError("secret")):
        response = await client.post("/v1/query", json=question("delays"))
    assert response.status == 500
    assert "secret" not in await response.text()


async def test_an_error_nobody_expected_is_a_problem_that_tells_nothing_of_it(
    client: Client, room: Room
) -> None:
    with patch.object(Room, "live", side_effect=RuntimeError("a secret of ours")):
        response = await client.post("/v1/query", json=question("delays"))
        told = await problem(response, 500)
    assert "secret" not in str(told)
    assert room.metrics.query_seconds.labels("500")._sum.get() > 0


async def test_a_body_that_is_not_of_its_encoding_is_a_bad_request(client: Client) -> None:
    headers = {"Content-Encoding": "gzip"}
    response = await client.post("/v1/query", data=b'{"metrics": []}', headers=headers)
    await problem(response, 400)
