"""Owns workers of a fleet that only answer over HTTP, for tests of the views; asserts nothing."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import faust
import orjson
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Request, StreamResponse
from faust.types import TP

from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import Metric
from analytics.core.live.metric import LiveMetric
from analytics.metrics import Metrics
from analytics.topics import MERGED_TABLE, Topics, owner_partition
from tests.unit.query.held import S, live, metric
from web import views
from web.answering import Answering
from web.health import Health
from web.peers import Peers

PARTITIONS = 7  # so that the two metrics are in different ones
TOPICS = Topics()
CHANGELOG = TOPICS.changelog(MERGED_TABLE)
DELAYS, CANCELLED = metric("delays"), metric("cancelled")
CATALOG = Catalog((DELAYS, CANCELLED))
Client = TestClient[Request, Any]

ROWS = {
    "delays": {
        0: [(1 * S, "UA", "JFK", 5.0), (2 * S, "AA", "LGA", 7.0)],
        1: [(12 * S, "UA", "EWR", 1.0)],
    },
    "cancelled": {0: [(3 * S, "UA", "JFK", 1.0)], 1: [(4 * S, "DL", "JFK", 2.0)]},
}


def held(of: Metric) -> LiveMetric:
    """The rows of these tests; the first window is final, the second open."""
    made = live(of, ROWS[of.name], watermark_ms=15 * S)
    made.watermark_ms(2)
    return made


class Fleet:
    """Who owns which partition, as Faust's assignor would tell every worker."""

    def __init__(self) -> None:
        self.owners: dict[str, dict[str, list[int]]] = {}

    def tables_metadata(self) -> Mapping[str, Mapping[str, list[int]]]:
        """By URL and changelog topic."""
        return self.owners

    def assign(self, url: str, *metrics: Metric) -> None:
        """The worker at ``url`` owns these metrics."""
        partitions = [owner_partition(one.name, PARTITIONS) for one in metrics]
        self.owners[url] = {CHANGELOG: partitions}


class Room:
    """The HTTP side of one worker, with the state of the metrics that it owns."""

    def __init__(self, fleet: Fleet, *owned: Metric) -> None:
        self.states: dict[str, LiveMetric | None] = {one.name: held(one) for one in owned}
        self.metrics = Metrics()
        self.faust = faust.App("worker", store="memory://", autodiscover=False)
        changelog = SimpleNamespace(get_topic_name=lambda: CHANGELOG)
        self.app = SimpleNamespace(
            tables={MERGED_TABLE: SimpleNamespace(changelog_topic=changelog)},
            router=fleet,
            conf=SimpleNamespace(canonical_url="http://not-started/"),
            http_client=None,
        )
        self.status = SimpleNamespace(
            tables=SimpleNamespace(actives_ready=True),
            rebalancing=False,
            consumer=SimpleNamespace(assignment=lambda: {TP(TOPICS.events, 0)}),
        )
        self.sources = SimpleNamespace(held={0: None})
        answering = Answering(CATALOG, self, Peers(self.app, MERGED_TABLE), sources=2)
        health = Health(self.status, TOPICS, self.sources, SimpleNamespace(held={}))
        views.register(self.faust, answering, health, self.metrics)

    # --- what the views ask of the agents -------------------------------------------------------

    def owner(self, of: Metric) -> int:
        """See `web.holding.Holding`."""
        return owner_partition(of.name, PARTITIONS)

    def owns(self, of: Metric) -> bool:
        """See `web.holding.Holding`."""
        return of.name in self.states

    def live(self, of: Metric) -> LiveMetric | None:
        """See `web.holding.Holding`."""
        return self.states.get(of.name)

    # --- serving --------------------------------------------------------------------------------

    async def open(self) -> Client:
        """Begin to serve; the client closes what was opened."""
        client: Client = TestClient(TestServer(cast(Any, self.faust.web).web_app))
        await client.start_server()
        self.app.http_client = client.session
        self.app.conf.canonical_url = str(client.make_url("/"))
        return client


class Stranger:
    """A server in the place of a worker, which answers whatever the test says."""

    def __init__(self) -> None:
        self.status = 200
        self.parts: list[bytes] = []
        self.headers: dict[str, str] = {"Content-Type": "application/json"}
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.silent = False

    async def handle(self, request: Request) -> StreamResponse:
        """Note the question and answer it, part by part."""
        body = await request.read()
        self.asked.append((request.method, request.path_qs, dict(request.headers), body))
        if self.silent:
            await asyncio.sleep(3_600)
        response = StreamResponse(status=self.status, headers=self.headers)
        await response.prepare(request)
        for part in self.parts:
            await response.write(part)
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def open(self) -> TestServer:
        """Begin to serve."""
        app = aiohttp.web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        server = TestServer(app)
        await server.start_server()
        return server


def question(*metrics: str, **more: object) -> dict[str, object]:
    """Counts by carrier of the first minute."""
    return {
        "metrics": [*metrics],
        "aggregations": ["count"],
        "groupBy": ["source"],
        "timeRange": {"from": 0, "to": 60 * S},
        **more,
    }


async def document(response: aiohttp.ClientResponse) -> Any:
    """The JSON of an answer."""
    return orjson.loads(await response.read())
