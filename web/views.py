"""The routes of a worker: query, metrics, health; each turns a request into a call and back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from aiohttp.web import Request, RequestPayloadError, Response
from faust import web
from prometheus_client import CONTENT_TYPE_LATEST

from analytics import clock
from analytics.core.query.answer import Answer
from analytics.core.query.formats import JSON, completeness, negotiate, render
from analytics.core.query.parameters import to_document
from analytics.errors import AnalyticsError, QueryError, QueryMistake
from analytics.metrics import Metrics
from web.answering import METRICS_PATH, QUERY_PATH, Answering
from web.bodies import read_whole
from web.health import Health
from web.peers import PART_HEADER
from web.problem import problem, problem_of

log = structlog.get_logger(__name__)

DOCUMENT_BYTES_MAX = 1 << 20
COMPLETENESS_HEADER = "X-Analytics-Completeness"
#: Rows of an answer that is written without giving way: up to a millisecond.
ROWS_AT_ONCE = 1_000

Handler = Callable[[], Awaitable[Response]]


def register(app: Any, answering: Answering, health: Health, metrics: Metrics) -> None:
    """Add the routes to a Faust app; call before it starts."""

    async def answered(request: Request, document: Handler | Any) -> Response:
        began = clock.monotonic()
        response = await _caught(document)
        taken = clock.monotonic() - began
        metrics.query_seconds.labels(str(response.status)).observe(taken)
        return response

    @app.page(QUERY_PATH, name="query")
    class QueryView(web.View):
        """POST /v1/query."""

        async def post(self, request: Request) -> Response:
            """Answer a query document."""

            async def handle() -> Response:
                document = _parsed(await _body(request))
                answer = await answering.answer(document, part=PART_HEADER in request.headers)
                return await _rendered(answer, request)

            return await answered(request, handle)

    @app.page(METRICS_PATH, name="metrics_list")
    class MetricsView(web.View):
        """GET /v1/metrics."""

        async def get(self, request: Request) -> Response:
            """Describe every metric, or with `?name=` one."""

            async def handle() -> Response:
                name = request.query.get("name")
                if name is None:
                    return _json({"metrics": await answering.describe_all()})
                part = PART_HEADER in request.headers
                return _json({"metrics": [await answering.describe(name, part=part)]})

            return await answered(request, handle)

    @app.page(METRICS_PATH + "/{name}", name="metric")
    class MetricView(web.View):
        """GET /v1/metrics/{name}."""

        async def get(self, request: Request, name: str) -> Response:
            """Describe one metric and answer the query that the parameters are."""

            async def handle() -> Response:
                answering.metric(name)
                document = to_document(name, request.query.items())
                answer = await answering.answer(document, part=False)
                return await _rendered(answer, request)

            return await answered(request, handle)

    _register_health(app, health, metrics)


def _register_health(app: Any, health: Health, metrics: Metrics) -> None:
    @app.page("/livez", name="livez")
    class LiveView(web.View):
        """GET /livez."""

        async def get(self, request: Request) -> Response:
            """Whether the process runs at all."""
            return _json({"status": "ok"})

    @app.page("/readyz", name="readyz")
    class ReadyView(web.View):
        """GET /readyz."""

        async def get(self, request: Request) -> Response:
            """Whether this worker serves what it owns."""
            reasons = health.not_ready()
            status = {"status": "not ready" if reasons else "ready", "reasons": reasons}
            return _json({**status, **health.describe()}, status=503 if reasons else 200)

    @app.page("/metrics", name="metrics")
    class ExpositionView(web.View):
        """GET /metrics."""

        async def get(self, request: Request) -> Response:
            """Prometheus metrics."""
            headers = {"Content-Type": CONTENT_TYPE_LATEST}
            return Response(body=metrics.exposition(), headers=headers)


async def _caught(handler: Handler) -> Response:
    try:
        return await handler()
    except AnalyticsError as error:
        return problem_of(error)
    except Exception as error:
        # Nobody expected it, so the log gets all of it and the caller nothing of it.
        log.error("a request failed", exc_info=error)
        return problem(500, "the worker failed to answer; its log says why")


async def _body(request: Request) -> bytes:
    try:
        return await read_whole(request.content, DOCUMENT_BYTES_MAX)
    except RequestPayloadError as error:
        # What the headers say of the body is not so: an encoding, a length.
        message = "the body is not what its headers say"
        raise QueryError([QueryMistake("", message)], status=400) from error


def _parsed(body: bytes) -> object:
    if len(body) > DOCUMENT_BYTES_MAX:
        message = f"a query may have {DOCUMENT_BYTES_MAX} bytes at the most"
        raise QueryError([QueryMistake("", message)], status=413)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise QueryError([QueryMistake("", f"not JSON: {error}")], status=400) from error


async def _rendered(answer: Answer, request: Request) -> Response:
    accept = request.headers.get("Accept", "")
    if len(answer) <= ROWS_AT_ONCE and negotiate(accept) == JSON:
        body, content_type = render(answer, accept)
    else:
        # The first Arrow answer imports the library, which takes seconds, and a worker whose loop
        # stands still that long ends itself. For a small answer a thread takes longer to have its
        # turn than to write it.
        body, content_type = await asyncio.to_thread(render, answer, accept)
    headers = {"Content-Type": content_type}
    if not content_type.startswith("application/json"):
        headers[COMPLETENESS_HEADER] = completeness(answer)
    return Response(body=body, headers=headers)


def _json(document: object, *, status: int = 200) -> Response:
    return Response(body=orjson.dumps(document), status=status, content_type="application/json")
