"""Owns a naive Faust worker on purpose: `table[key] += n` on stock Faust, for the oracle to judge.

Run as a process: `python -m tests.services.oracle.naive BROKER TOPIC PARTITIONS PORT DIRECTORY`. It
counts the events of each window and block, and answers `/counts` with all it has. A record's events
are added at once, for stock Faust has its time with every message to a changelog.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import faust
from aiohttp.web import Response

WINDOW_MS = 10_000


def naive(broker: str, topic: str, partitions: int, port: int, directory: str) -> faust.App:
    """The app, with every setting of Faust as it comes but for those that only save time."""
    app = faust.App(
        f"{topic}-naive",
        broker=f"kafka://{broker}",
        store="memory://",
        topic_partitions=partitions,
        topic_replication_factor=1,
        datadir=directory,
        web_port=port,
        web_bind="127.0.0.1",
        broker_session_timeout=3.0,
        broker_heartbeat_interval=0.5,
        broker_rebalance_timeout=5.0,
    )
    # A block's window and name, joined: how many events, and the sum, least and greatest of them.
    table: Any = app.Table("blocks", partitions=partitions)
    events: Any = app.topic(topic, value_type=bytes, value_serializer="raw")

    @app.agent(events, name="count")
    async def count(stream: Any) -> None:
        async for value in stream:
            blocks: dict[str, list[int]] = {}
            for line in value.split(b"\n"):
                event = json.loads(line)
                start = event["timestamp"] // WINDOW_MS * WINDOW_MS
                digits = blocks.setdefault(f"{start} {event['data']['block']}", [])
                digits.append(event["data"]["digit"])
            for key, digits in blocks.items():
                table[key] = added(table.get(key), digits)

    async def counts(view: Any, request: Any) -> Any:
        return Response(text=json.dumps(dict(table.items())))

    app.page("/counts")(counts)
    return app


def added(counts: Sequence[int] | None, digits: Sequence[int]) -> tuple[int, int, int, int]:
    """(count, sum, least, greatest) with these numbers as well."""
    if counts is None:
        return len(digits), sum(digits), min(digits), max(digits)
    count, total, least, greatest = counts
    more = added(None, digits)
    return count + more[0], total + more[1], min(least, more[2]), max(greatest, more[3])


if __name__ == "__main__":
    broker, topic, partitions, port, directory = sys.argv[1:]
    app = naive(broker, topic, int(partitions), int(port), directory)
    faust.Worker(app, loglevel="warning").execute_from_commandline()
