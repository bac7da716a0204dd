"""Owns asking a worker over HTTP as any client would; it judges no answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import polars as pl
import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"
SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """What `/readyz` said; status 0 when nobody answered."""

    status: int
    document: Mapping[str, Any]


class Asking:
    """The HTTP interface of one worker. Every call blocks, `SECONDS_MAX` at the most."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=SECONDS_MAX, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def post(self, document: object, *, accept: str = "application/json") -> httpx.Response:
        """POST /v1/query, whatever comes of it."""
        return self._client.post("/v1/query", json=document, headers={"Accept": accept})

    def get(self, path: str, **parameters: str | int) -> httpx.Response:
        """GET a path with parameters, whatever comes of it."""
        return self._client.get(path, params=parameters)

    def query(self, document: object) -> dict[str, Any]:
        """The answer to a query as its JSON document; AssertionError for anything but 200."""
        response = self.post(document)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def rows_or_none(self, document: object) -> list[list[Any]] | None:
        """The rows of an answer; None while there is none: nobody answers, or answers 503."""
        try:
            response = self.post(document)
        except httpx.TransportError:
            return None
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return None
        assert response.status_code == 200, response.text
        rows: list[list[Any]] = response.json()["rows"]
        return rows

    def table(self, document: object) -> pl.DataFrame:
        """The answer to a query of one metric as a frame, by way of Arrow.

        Column names lose the metric (`departures.count` is `count`), and times are epoch ms.
        """
        response = self.post(document, accept=ARROW)
        assert response.status_code == 200, response.text
        with pa.ipc.open_stream(response.content) as stream:
            frame = pl.DataFrame(pl.from_arrow(stream.read_all()))
        names = {name: name.rpartition(".")[2] for name in frame.columns}
        return frame.rename(names).with_columns(pl.col("timestamp").dt.epoch("ms"))

    def readiness(self) -> Readiness:
        """What `/readyz` says."""
        try:
            response = self._client.get("/readyz", timeout=2.0)
        except httpx.TransportError:
            return Readiness(0, {})
        return Readiness(response.status_code, response.json())

    def samples(self, name: str) -> dict[str, float]:
        """The Prometheus samples whose name begins with ``name``, by name with labels."""
        lines = self._client.get("/metrics").text.splitlines()
        pairs = (line.rpartition(" ") for line in lines if line.startswith(name))
        return {key: float(value) for key, _, value in pairs}
