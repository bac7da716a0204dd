"""Questions about metrics that another worker owns: asked once, joined, or refused for now."""

from types import SimpleNamespace

import orjson
import pytest
from aiohttp import ClientResponse

from analytics.topics import MERGED_TABLE
from tests.unit.web.rooms import CANCELLED, Client, Fleet, Room, Stranger, document, question
from web import peers
from web.peers import PART_HEADER, Peers
from web.problem import Unavailable


async def ask(client: Client, *metrics: str, **more: object) -> ClientResponse:
    return await client.post("/v1/query", json=question(*(metrics or ("cancelled",)), **more))


async def unavailable(response: ClientResponse) -> str:
    """What is told when an owner cannot be asked."""
    assert (response.status, response.content_type) == (503, "application/problem+json")
    assert response.headers["Retry-After"] == "1"
    detail: str = (await document(response))["detail"]
    return detail


async def test_a_metric_of_another_worker_is_answered_as_if_it_were_here(
    client: Client, other: Client
) -> None:
    here = await document(await ask(other, step="10s"))
    told = await document(await ask(client, step="10s"))
    assert told["rows"] == here["rows"] != []
    assert (told["columns"], told["buckets"]) == (here["columns"], here["buckets"])


async def test_metrics_of_several_workers_are_joined_ordered_and_cut(
    client: Client, other: Client
) -> None:
    asked = {"orderBy": [{"field": "delays.count", "direction": "desc"}], "limit": 2}
    told = await document(await ask(client, "delays", "cancelled", **asked))
    assert told["rows"] == [[0, "UA", 2, 1], [0, "AA", 1, None]]


async def test_descriptions_come_from_the_owners(client: Client, other: Client) -> None:
    told = await document(await client.get("/v1/metrics"))
    assert [one["watermark"] for one in told["metrics"]] == [15_000, 15_000]
    told = await document(await client.get("/v1/metrics", params={"name": "cancelled"}))
    assert told["metrics"][0]["series"] == 2


async def test_the_owner_is_told_that_it_is_asked_for_a_part(
    client: Client, stranger: Stranger
) -> None:
    stranger.parts = [b"{}"]
    await ask(client)
    [(method, path, headers, body)] = stranger.asked
    assert (method, path, headers[PART_HEADER]) == ("POST", "/v1/query", "1")
    assert orjson.loads(body)["metrics"] == ["cancelled"]


async def test_an_answer_that_arrives_in_parts_is_read_whole(
    client: Client, other: Client, stranger: Stranger
) -> None:
    whole = await (await ask(other)).read()
    stranger.parts = [whole[:7], whole[7:-1], whole[-1:]]
    told = await document(await ask(client))
    assert sorted(told["rows"]) == [[0, "DL", 1], [0, "UA", 1]]


async def test_a_question_that_the_owner_finds_wrong_is_wrong(
    client: Client, stranger: Stranger
) -> None:
    """Its configuration may be newer than ours."""
    problem = {"errors": [{"pointer": "/groupBy/0", "message": "is gone"}], "status": 422}
    stranger.status, stranger.parts = 422, [orjson.dumps(problem)]
    stranger.headers = {"Content-Type": "application/problem+json"}
    response = await ask(client)
    assert response.status == 422
    assert (await document(response))["errors"] == problem["errors"]


@pytest.mark.parametrize("status", [500, 502, 503, 404, 301])
async def test_an_owner_that_does_not_serve_is_unavailable(
    client: Client, stranger: Stranger, status: int
) -> None:
    stranger.status, stranger.headers = status, {"Location": "/v1/query"}
    assert str(status) in await unavailable(await ask(client))
    assert len(stranger.asked) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"not json", b'{"columns": [], "rows": []}'])
async def test_an_owner_that_answers_something_else_is_unavailable(
    client: Client, stranger: Stranger, body: bytes
) -> None:
    stranger.parts = [body]
    assert "something else" in await unavailable(await ask(client))
    params = {"name": "cancelled"}
    assert "something else" in await unavailable(await client.get("/v1/metrics", params=params))


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"errors": 7, "status": 422}'])
async def test_a_problem_that_is_none_of_ours_is_unavailable(
    client: Client, stranger: Stranger, body: bytes
) -> None:
    stranger.status, stranger.parts = 422, [body]
    stranger.headers = {"Content-Type": "application/problem+json"}
    await unavailable(await ask(client))


async def test_an_owner_that_does_not_answer_in_time_is_unavailable(
    client: Client, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "TIMEOUT_SECONDS", 0.05)
    stranger.silent = True
    assert "does not answer" in await unavailable(await ask(client))


async def test_a_worker_that_shuts_down_asks_nobody_any_more(fleet: Fleet) -> None:
    fleet.assign("http://another/", CANCELLED)
    room = Room(fleet)
    room.app.http_client = SimpleNamespace(closed=True)
    with pytest.raises(Unavailable, match="shutting down"):
        await Peers(room.app, MERGED_TABLE).get(room.owner(CANCELLED), "/v1/metrics")


async def test_an_owner_that_is_gone_is_unavailable_and_the_list_leaves_it_null(
    client: Client, fleet: Fleet
) -> None:
    fleet.assign("http://127.0.0.1:1/", CANCELLED)
    assert "does not answer" in await unavailable(await ask(client, "delays", "cancelled"))
    told = await document(await client.get("/v1/metrics"))
    assert [one["series"] for one in told["metrics"]] == [3, None]


async def test_an_answer_beyond_the_limit_is_not_kept_in_memory(
    client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "ANSWER_BYTES_MAX", 100)
    assert "more than 100 bytes" in await unavailable(await ask(client))


async def test_a_partition_that_nobody_owns_is_unavailable(client: Client) -> None:
    assert "no worker owns partition" in await unavailable(await ask(client))


async def test_a_worker_does_not_ask_itself(client: Client, room: Room, fleet: Fleet) -> None:
    """The assignment names it already, but it is still reading the changelog."""
    fleet.assign(str(client.make_url("/")), CANCELLED)
    assert "still taking over" in await unavailable(await ask(client))
