"""The pipeline's job in Quix Streams: BOOTSTRAP TOPIC EVENTS DIRECTORY, in an environment apart.

The ordinary program: events are split and decoded, regrouped by series through a repartition topic
that carries the few needed fields, and folded by the library's own aggregations into a tumbling
window. Its state is kept the default way, RocksDB with a changelog, committed every five seconds.
There is no p95, which the library does not offer; a sketch of our own inside every value would
only make it slower.
"""

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from quixstreams import Application  # type: ignore[import-not-found]
from quixstreams.dataframe.windows.aggregations import (  # type: ignore[import-not-found]
    Count,
    Max,
    Min,
    Sum,
)

_WINDOW_MS = 10_000
#: The partitions of a full topic are read at different speeds, which regrouping turns into late
#: events; none may be dropped. A longer grace costs little here, as no window closes.
_GRACE_MS = 600_000


class Data(msgspec.Struct):
    """The fields of an event's `data` that the job needs."""

    amount: float
    country: str


class Event(msgspec.Struct):
    """The fields of an event that the job needs."""

    timestamp: datetime
    type: str
    data: Data


_decode = msgspec.json.Decoder(Event).decode


def split(record: bytes) -> list[dict[str, Any]]:
    """What the job needs of each event of a record."""
    return [
        {
            "series": f"{event.type}|{event.data.country}",
            "amount": event.data.amount,
            "ms": int(event.timestamp.timestamp() * 1000),
        }
        for event in map(_decode, record.split(b"\n"))
    ]


class Answer:
    """The newest row of every window and series, as the library gives them out."""

    def __init__(self, app: Any, events: int, directory: Path) -> None:
        self._app = app
        self._events = events
        self._directory = directory
        self._seen = 0
        self._rows: dict[tuple[int, bytes | str], dict[str, Any]] = {}

    def begin(self, record: bytes) -> None:
        """Take note of the first record."""
        if not self._rows:
            (self._directory / "began").touch()

    def update(self, row: dict[str, Any], key: Any, timestamp: int, headers: Any) -> None:
        """Take a row in; the last one ends the run, which commits."""
        self._rows[row["start"], key] = row
        self._seen += 1
        if self._seen == self._events:
            self._app.stop()

    def write(self) -> None:
        """Write the result as the benchmark reads it."""
        rows = []
        for (start_ms, key), row in self._rows.items():
            series = key.decode() if isinstance(key, bytes) else key
            totals = [row[name] for name in ("count", "sum", "min", "max")]
            rows.append([start_ms, *series.split("|"), *totals])
        partial = self._directory / "result.partial"
        partial.write_text(json.dumps({"rows": rows}))
        partial.rename(self._directory / "result.json")


def main(bootstrap: str, topic_name: str, events: int, directory: Path) -> None:
    """Fold `events` events, write the result and wait to be ended."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=directory.name,
        auto_offset_reset="earliest",
        state_dir=directory / "state",
        loglevel="ERROR",
    )
    answer = Answer(app, events, directory)
    frame = app.dataframe(app.topic(topic_name, value_deserializer="bytes"))
    frame = frame.update(answer.begin).apply(split, expand=True)
    frame = frame.set_timestamp(lambda value, key, timestamp, headers: value["ms"])
    frame = frame.group_by("series", key_serializer="str", key_deserializer="str")
    window = frame.tumbling_window(_WINDOW_MS, grace_ms=_GRACE_MS)
    totals = window.agg(
        count=Count(), sum=Sum("amount"), min=Min("amount"), max=Max("amount")
    ).current()
    totals.update(answer.update, metadata=True)
    app.run()
    answer.write()
    time.sleep(1e6)  # whoever measures reads our CPU time, then ends us


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
