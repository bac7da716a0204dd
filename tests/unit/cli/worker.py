"""Owns a stand-in for a worker's HTTP side, for commands that only ask; it computes nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPLY = {
    "columns": [
        {"name": "timestamp", "type": "timestamp_ms"},
        {"name": "source", "type": "string"},
        {"name": "departures.count", "type": "uint64"},
        {"name": "departures.p95", "type": "float64"},
    ],
    "rows": [[1795478400000, "UA", 1412, 87.25], [1795478400000, "AA", 3, None]],
    "buckets": [{"timestamp": 1795478400000, "state": "final"}],
    "meta": {
        "resolution_ms": 10000,
        "data_through": 1795478460250,
        "lag_ms": 1180,
        "sources": ["table"],
        "late_events": 2,
        "degraded": [],
        "cached": False,
        "took_ms": 3.1,
    },
}


@dataclass
class StandIn:
    """What it answers to every question, and the documents that it was asked."""

    status: int = 200
    body: object = field(default_factory=lambda: REPLY)
    asked: list[dict[str, object]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])


@contextmanager
def stand_in(status: int = 200, body: object = REPLY) -> Iterator[StandIn]:
    """A stand-in that listens on loopback until the end of the block."""
    worker = StandIn(status, body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"status": "ready", "reasons": []})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            worker.asked.append(json.loads(self.rfile.read(length)))
            worker.accepted.append(self.headers["Accept"])
            self._answer(worker.status, worker.body)

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

        def _answer(self, status: int, body: object) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        worker.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield worker
        finally:
            server.shutdown()
            thread.join()
