"""Clients of `query`: they ask a worker one question over and over, each on a connection kept open.

`python -m benchmarks.candidates.asking FILE` reads an `Order` from FILE and writes an `Outcome`
beside it. It speaks HTTP/1.1 on bare sockets, because a client that costs more than the answer
would measure itself.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from analytics import clock

_HEADERS_END = b"\r\n\r\n"
_BODY_BYTES_MAX = 1 << 28


class Order(msgspec.Struct, frozen=True):
    """What to ask, and how: with `every_ms` each client asks so often, else at once again."""

    port: int
    document: dict[str, object]
    clients: int
    every_ms: int
    seconds: float


class Outcome(msgspec.Struct, frozen=True):
    """Times of all answers, and the last of them.

    With `every_ms` a time begins when the question was due, so that a client that waits for an
    answer makes the next one late instead of hiding it.
    """

    answered_ms: list[float]
    seconds: float
    last: msgspec.Raw


class _Client:
    def __init__(self, order: Order, number: int) -> None:
        self._order = order
        self._number = number
        self.answered_ms: list[float] = []
        self.last = b"null"

    async def run(self, start: float) -> None:
        """Ask until the time is over."""
        order = self._order
        body = msgspec.json.encode(order.document)
        request = (
            b"POST /v1/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", order.port, limit=1 << 20)
        try:
            # Spread over the interval, as people do not open their dashboards together.
            due = start + self._number * order.every_ms / 1000 / order.clients
            while True:
                now = clock.monotonic()
                if due > now:
                    await asyncio.sleep(due - now)
                began = due if order.every_ms else max(now, due)
                if clock.monotonic() - start >= order.seconds:
                    return
                writer.write(request)
                self.last = await _answer(reader)
                ended = clock.monotonic()
                self.answered_ms.append((ended - began) * 1000)
                due = due + order.every_ms / 1000 if order.every_ms else ended
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body of an answer; RuntimeError unless its status is 200."""
    status, _, headers = (await reader.readuntil(_HEADERS_END)).partition(b"\r\n")
    named = dict(line.lower().split(b": ", 1) for line in headers.split(b"\r\n") if line)
    length = int(named[b"content-length"])
    if length > _BODY_BYTES_MAX:
        raise RuntimeError(f"an answer of {length} bytes")
    body = await reader.readexactly(length)
    if status.split()[1] != b"200":
        raise RuntimeError(f"{status.decode()}: {body[:500].decode(errors='replace')}")
    return body


async def _ask(order: Order) -> Outcome:
    clients = [_Client(order, number) for number in range(order.clients)]
    start = clock.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(start))
    seconds = clock.monotonic() - start
    answered_ms = [each for client in clients for each in client.answered_ms]
    return Outcome(answered_ms, seconds, msgspec.Raw(clients[0].last))


def main(file: Path) -> None:
    """Ask what `file` says."""
    outcome = asyncio.run(_ask(msgspec.json.decode(file.read_bytes(), type=Order)))
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(outcome))
    partial.rename(file.with_suffix(".outcome"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
