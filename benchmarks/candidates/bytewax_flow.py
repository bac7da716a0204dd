"""The pipeline's job in Bytewax: BOOTSTRAP TOPIC EVENTS DIRECTORY, in an environment apart.

The ordinary program: records are split and decoded in batches, keyed by series and folded into the
library's tumbling windows, on one worker. Recovery, which a flow has to be given, is on: a snapshot
of the changed state to SQLite every ten seconds, the library's default. It reads to the end of the
topic, where all windows close; before that the library gives no row out.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]
import msgspec
from bytewax._bytewax import cli_main, init_db_dir  # type: ignore[import-not-found]
from bytewax.connectors.kafka import KafkaSource  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.operators import windowing
from bytewax.outputs import DynamicSink, StatelessSinkPartition  # type: ignore[import-not-found]
from bytewax.recovery import RecoveryConfig  # type: ignore[import-not-found]

_WINDOW_MS = 10_000
_SNAPSHOT = timedelta(seconds=10)
#: The partitions of a full topic are read at different speeds, which keying turns into late events;
#: none may be dropped.
_WAIT = timedelta(minutes=10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GAMMA = 1.01 / 0.99
_PER_LOG = 1 / math.log(_GAMMA)


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


class Totals:
    """Count, sum, min, max and a sketch whose p95 is within 1 % (bins of geometric width)."""

    __slots__ = ("bins", "count", "max", "min", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.min = math.inf
        self.max = -math.inf
        self.bins: dict[int, int] = {}

    def row(self) -> list[float]:
        """The values of the answer."""
        rank, passed = math.floor(0.95 * (self.count - 1)), 0
        for number in sorted(self.bins):
            passed += self.bins[number]
            if passed > rank:
                break
        p95 = 2 * _GAMMA**number / (1 + _GAMMA)
        return [self.count, self.sum, self.min, self.max, p95]


def fold(totals: Totals, value: tuple[datetime, float]) -> Totals:
    """Take one amount in."""
    amount = value[1]
    totals.count += 1
    totals.sum += amount
    if amount < totals.min:
        totals.min = amount
    if amount > totals.max:
        totals.max = amount
    number = math.ceil(math.log(amount) * _PER_LOG)
    totals.bins[number] = totals.bins.get(number, 0) + 1
    return totals


def merge(left: Totals, right: Totals) -> Totals:
    """Add up two windows that have grown together, which those of a fixed size never do."""
    left.count += right.count
    left.sum += right.sum
    left.min, left.max = min(left.min, right.min), max(left.max, right.max)
    for number, count in right.bins.items():
        left.bins[number] = left.bins.get(number, 0) + count
    return left


def split(records: list[Any]) -> Iterator[tuple[str, tuple[datetime, float]]]:
    """What the job needs of each event of some records, by series."""
    for record in records:
        for line in record.value.split(b"\n"):
            event = _decode(line)
            yield f"{event.type}|{event.data.country}", (event.timestamp, event.data.amount)


class _Rows(DynamicSink, StatelessSinkPartition):  # type: ignore[misc]
    """Keeps what the flow gives out."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Rows":
        return self

    def write_batch(self, items: list[Any]) -> None:
        for series, (window, totals) in items:
            self.rows.append([window * _WINDOW_MS, *series.split("|"), *totals.row()])


def create_flow(bootstrap: str, topic: str, directory: Path, sink: _Rows) -> Any:
    """The dataflow from the topic to the sink."""
    flow = Dataflow("pipeline")

    def begin_and_split(records: list[Any]) -> Iterator[tuple[str, tuple[datetime, float]]]:
        if not began.exists():
            began.touch()
        return split(records)

    began = directory / "began"
    records = op.input("records", flow, KafkaSource([bootstrap], [topic], tail=False))
    events = op.flat_map_batch("events", records, begin_and_split)
    windows = windowing.fold_window(
        "totals",
        events,
        windowing.EventClock(lambda value: value[0], _WAIT),
        windowing.TumblingWindower(timedelta(milliseconds=_WINDOW_MS), _EPOCH),
        Totals,
        fold,
        merge,
        # The totals do not depend on the order, and keeping it would hold every event back.
        ordered=False,
    )
    op.output("rows", windows.down, sink)
    return flow


def main(bootstrap: str, topic: str, directory: Path) -> None:
    """Fold the whole topic, write the result and wait to be ended."""
    recovery = directory / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    sink = _Rows()
    flow = create_flow(bootstrap, topic, directory, sink)
    cli_main(flow, epoch_interval=_SNAPSHOT, recovery_config=RecoveryConfig(recovery))
    partial = directory / "result.partial"
    partial.write_text(json.dumps({"rows": sink.rows}))
    partial.rename(directory / "result.json")
    time.sleep(1e6)  # whoever measures reads our CPU time, then ends us


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[4]))
