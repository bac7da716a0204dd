"""A stock Faust agent that does the pipeline's job the ordinary way.

`python -m benchmarks.candidates.stock BOOTSTRAP TOPIC EVENTS DIRECTORY` reads EVENTS events,
writes `result.json` into DIRECTORY and waits to be ended. Count, sum, min and max of each window
and series are one JSON value of a RocksDB table with Faust's own changelog. Left out, each time in
Faust's favour: the p95 (it would need a sketch inside of every value), the expiry of old windows,
the merge over partitions and the query. The partition is part of the key, because the stream is
not repartitioned by series and Faust would otherwise mix the partitions of its table up.
"""

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import faust
import orjson

from benchmarks.dataset import PARTITIONS
from benchmarks.events import WINDOW_MS


def create_app(bootstrap: str, topic_name: str, events: int, directory: Path) -> faust.App:
    """The app: default settings, but for the state's place and where to begin reading."""
    app = faust.App(
        f"stock-{directory.name}",
        broker=f"kafka://{bootstrap}",
        store="rocksdb://",
        datadir=str(directory / "state"),
        autodiscover=False,
        consumer_auto_offset_reset="earliest",
        topic_partitions=PARTITIONS,
        web_enabled=False,
    )
    topic = app.topic(topic_name, value_serializer="raw", value_type=bytes)
    table = app.Table("amounts", default=list, partitions=PARTITIONS)
    measure = _Measure(events, directory / "result.json")

    @app.agent(topic)
    async def aggregate(stream: Any) -> None:
        async for message in stream.events():
            measure.begin()
            partition = message.message.partition
            for line in message.value.split(b"\n"):
                _fold(table, partition, orjson.loads(line))
                measure.seen += 1
            if measure.seen == events:
                await app.producer.flush()
                measure.end(table)

    return app


def _fold(table: Any, partition: int, event: Any) -> None:
    moment = datetime.fromisoformat(event["timestamp"])
    start_ms = int(moment.timestamp() * 1000) // WINDOW_MS * WINDOW_MS
    data = event["data"]
    amount = data["amount"]
    key = f"{start_ms}|{event['type']}|{data['country']}|{partition}"
    held = table[key]
    if held:
        count, total, least, most = held
        table[key] = [count + 1, total + amount, min(least, amount), max(most, amount)]
    else:
        table[key] = [1, amount, amount, amount]


class _Measure:
    """From the first event to the last one's changelog record, CPU of all threads."""

    def __init__(self, events: int, file: Path) -> None:
        self._events = events
        self._file = file
        self._began: tuple[float, float] | None = None
        self.seen = 0

    def begin(self) -> None:
        if self._began is None:
            self._began = (time.process_time(), time.perf_counter())

    def end(self, table: Any) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        assert self._began is not None
        result = {
            "cpu_seconds": cpu - self._began[0],
            "seconds": wall - self._began[1],
            "rows": dict(table.items()),
        }
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(result))
        partial.rename(self._file)


if __name__ == "__main__":
    bootstrap, topic_name, events, directory = sys.argv[1:]
    stock = create_app(bootstrap, topic_name, int(events), Path(directory))
    faust.Worker(stock, loglevel="ERROR", quiet=True).execute_from_commandline()
