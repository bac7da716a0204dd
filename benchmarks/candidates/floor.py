"""The least that any consumer in Python must do: fetch records and decode their events.

`python -m benchmarks.candidates.floor BOOTSTRAP TOPIC EVENTS DIRECTORY` fetches with librdkafka,
decodes with msgspec into structs of the four fields that the job needs, and counts and sums. There
are no windows, no state and no answer, so nothing here can be compared with a whole pipeline: what
an event costs beyond this floor is what a pipeline costs.
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.dataset import PARTITIONS

_BATCH = 10_000
_POLL_SECONDS = 0.05


class Data(msgspec.Struct):
    """The fields of an event's `data` that the job needs."""

    amount: float
    country: str


class Event(msgspec.Struct):
    """The fields of an event that the job needs."""

    timestamp: str
    type: str
    data: Data


def main(bootstrap: str, topic: str, events: int, directory: Path) -> None:
    """Decode `events` events, say what they add up to and wait to be ended."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": directory.name})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    (directory / "began").touch()
    decode = msgspec.json.Decoder(Event).decode
    count, sums = 0, [0.0]
    while count < events:
        decoded = [decode(line) for line in _lines(consumer.consume(_BATCH, _POLL_SECONDS))]
        count += len(decoded)
        sums.append(sum(event.data.amount for event in decoded))
    partial = directory / "result.partial"
    partial.write_text(json.dumps({"count": count, "sum": math.fsum(sums)}))
    partial.rename(directory / "result.json")
    time.sleep(1e6)  # whoever measures reads our CPU time, then ends us


def _lines(messages: Sequence[Message]) -> list[bytes]:
    values = [value for message in messages if (value := message.value())]
    return [line for value in values for line in value.split(b"\n")]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
