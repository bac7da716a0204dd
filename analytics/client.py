"""Owns talking to a worker or gateway over HTTP; must not decide how an answer is shown."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from analytics.errors import QueryError, QueryMistake, TransportError

T = TypeVar("T")

TIMEOUT_SECONDS = 10.0
JSON = "application/json"
CSV = "text/csv"

#: Statuses that mean that the question is wrong, not the server.
_QUESTION = frozenset({400, 404, 406, 413, 415, 422})


class Column(msgspec.Struct, frozen=True):
    """Name and type of a column: timestamp_ms, string, uint64, float64 or topk."""

    name: str
    type: str


class Bucket(msgspec.Struct, frozen=True):
    """How settled the rows of one bucket are: open, final or revised."""

    timestamp: int
    state: str


class Meta(msgspec.Struct, frozen=True):
    """How complete an answer is; times in epoch ms."""

    resolution_ms: int
    data_through: int | None
    lag_ms: int | None
    sources: list[str]
    late_events: int
    degraded: list[str]
    cached: bool
    took_ms: float


class Reply(msgspec.Struct, frozen=True):
    """The answer to a query: rows of values in the order of the columns, null where missing."""

    columns: list[Column]
    rows: list[list[Any]]
    buckets: list[Bucket]
    meta: Meta

    def places(self) -> dict[str, int]:
        """The place of each column by its name."""
        return {column.name: place for place, column in enumerate(self.columns)}


class Dimension(msgspec.Struct, frozen=True):
    """The name that queries use for a dimension, and the path of its field."""

    name: str
    field: str


class Described(msgspec.Struct, frozen=True):
    """A metric as its worker describes it, as far as clients need it."""

    name: str
    dimensions: list[Dimension]
    functions: list[str]


class Health(msgspec.Struct, frozen=True):
    """Whether a process serves, and if not why."""

    ready: bool
    reasons: list[str]


class _Described(msgspec.Struct, frozen=True):
    metrics: list[Described]


class _Readiness(msgspec.Struct, frozen=True):
    reasons: list[str] = []


class _Problem(msgspec.Struct, frozen=True):
    """RFC 9457."""

    title: str = ""
    detail: str = ""
    errors: list[dict[str, str]] = []


class Client:
    """Asks one worker or gateway; an async context manager.

    A wrong question raises QueryError with every mistake the server names. Everything else that
    goes wrong raises TransportError, recoverable when asking again may help.
    """

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.url = url.rstrip("/")
        loopback = is_loopback(self.url)
        # Neither a proxy nor certificates, which take time to load, have a part in a loopback.
        self._http = httpx.AsyncClient(
            base_url=self.url, timeout=timeout_seconds, trust_env=not loopback, verify=not loopback
        )

    async def __aenter__(self) -> Self:
        """Connections are opened when they are needed."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def query(self, document: Mapping[str, object]) -> Reply:
        """The answer to a document of POST /v1/query."""
        return self._decode(await self.query_as(JSON, document), Reply)

    async def query_as(self, accept: str, document: Mapping[str, object]) -> bytes:
        """The same answer, as the bytes of the media type `accept`."""
        headers = {"Accept": accept, "Content-Type": JSON}
        content = msgspec.json.encode(document)
        return self._checked(await self._ask("POST", "/v1/query", content, headers))

    async def metrics(self) -> Sequence[Described]:
        """All metrics."""
        content = self._checked(await self._ask("GET", "/v1/metrics"))
        return self._decode(content, _Described).metrics

    async def health(self) -> Health:
        """Whether the process serves; one that cannot be reached raises TransportError."""
        response = await self._ask("GET", "/readyz")
        readiness = _Readiness()
        with suppress(msgspec.MsgspecError):
            readiness = msgspec.json.decode(response.content, type=_Readiness)
        return Health(response.status_code == httpx.codes.OK, readiness.reasons)

    async def _ask(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return await self._http.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise TransportError(
                f"{self.url} does not answer: {reason}", recoverable=True
            ) from error

    def _checked(self, response: httpx.Response) -> bytes:
        if response.status_code == httpx.codes.OK:
            return response.content
        problem = _Problem(title=response.reason_phrase)
        with suppress(msgspec.MsgspecError):
            problem = msgspec.json.decode(response.content, type=_Problem)
        said = problem.detail or problem.title
        if response.status_code in _QUESTION:
            mistakes = [
                QueryMistake(one.get("pointer", ""), one.get("message", ""))
                for one in problem.errors
            ]
            raise QueryError(mistakes or [QueryMistake("", said)], status=response.status_code)
        message = f"{self.url} answered {response.status_code}: {said}"
        raise TransportError(message, recoverable=response.status_code in (429, 503))

    def _decode(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            message = f"{self.url} is not a worker or gateway of this version: {error}"
            raise TransportError(message, recoverable=False) from error


async def first_answering(urls: Sequence[str]) -> str:
    """The first of `urls` at which something answers; raises TransportError when none does."""
    for url in urls:
        async with Client(url) as client:
            with suppress(TransportError):
                await client.health()
                return url
    message = f"nothing answers at {' or '.join(urls)}: start `analytics worker`, or give --url"
    raise TransportError(message, recoverable=True)


def is_loopback(url: str) -> bool:
    """Tell whether a URL stays on this machine and needs no certificates."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    with suppress(ValueError):
        return parts.scheme == "http" and ip_address(host).is_loopback
    return parts.scheme == "http" and host == "localhost"
