"""Owns sending records to Kafka as a foreign producer would, and waiting until they are applied."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from tests.services.asking import Asking
from tests.services.flights import framed
from tests.services.workers import PARTITIONS, Deployment, WorkerFleet

SEND_SECONDS_MAX = 60.0
APPLY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1

#: All that a question may span, around the year of the flights.
ALL_TIME = {"from": "2012-12-15T00:00:00Z", "to": "2014-01-15T00:00:00Z"}


class Load:
    """A producer to the events topic of one deployment; spreads records over its partitions.

    Every partition gets the records in the order they were sent, whatever is retried.
    """

    def __init__(self, deployment: Deployment, *, codec: str = "none", turn: int = 1) -> None:
        """A partition gets ``turn`` records before the next one does, as other clients do it."""
        self._topic = deployment.topics.events
        self._failures: list[KafkaError] = []
        self._turns = cycle(number for number in range(PARTITIONS) for _ in range(turn))
        self._producer = Producer(
            {
                "bootstrap.servers": deployment.bootstrap,
                "compression.type": codec,
                "enable.idempotence": True,
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 3,
            }
        )

    def send(self, values: Iterable[bytes], *, partition: int | None = None) -> None:
        """Queue records, to each partition in turn or all to one."""
        for value in values:
            to = next(self._turns) if partition is None else partition
            self._producer.produce(self._topic, value, partition=to, on_delivery=self._delivered)
            self._producer.poll(0)

    def flush(self) -> None:
        """Wait for the acknowledgement of every record; AssertionError when one has none."""
        unsent = self._producer.flush(SEND_SECONDS_MAX)
        assert (unsent, self._failures) == (0, [])

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failures.append(error)


class PacedLoad:
    """Sends events in records of `EVENTS_A_RECORD` at a steady pace; `run` it in a thread.

    `sent` counts the events that were handed to the producer, so Kafka never has more.
    """

    EVENTS_A_RECORD = 50

    def __init__(self, deployment: Deployment, events: Sequence[bytes], seconds: float) -> None:
        """Take ``seconds`` for all that is not sent at once, or longer where sending is slow."""
        self._load = Load(deployment, codec="lz4")
        self._events = events
        self._seconds = seconds
        self.sent = 0

    def send_at_once(self, count: int) -> None:
        """Send the first ``count`` events before the pace begins, a multiple of a record's."""
        self._load.send(framed(self._events[:count], self.EVENTS_A_RECORD))
        self._load.flush()
        self.sent = count

    def hurry(self) -> None:
        """Send what is left as fast as it goes."""
        self._seconds = 0.0

    def run(self) -> None:
        """Send it all; returns once everything is acknowledged."""
        began, first = time.monotonic(), self.sent
        rest = self._events[first:]
        for value in framed(rest, self.EVENTS_A_RECORD):
            due = began + self._seconds * (self.sent - first) / len(rest)
            if (wait := due - time.monotonic()) > 0.02 and self._seconds:
                time.sleep(wait)
            self.sent += value.count(b"\n") + 1
            self._load.send([value])
        self._load.flush()


def wait_applied(deployment: Deployment, fleet: WorkerFleet) -> None:
    """Block until every record of the events topic is in what queries are answered from.

    This is what a test waits for instead of a count: a count that is right by then was right, and
    one that is too high would have been passed on the way.
    """
    topics = deployment.topics
    for stage, topic in (("aggregate", topics.events), ("merge", topics.partials)):
        ends = end_offsets(deployment.bootstrap, topic, PARTITIONS)
        _wait_applied(fleet, stage, {number: end - 1 for number, end in enumerate(ends) if end})


def _wait_applied(fleet: WorkerFleet, stage: str, wanted: Mapping[int, int]) -> None:
    deadline = time.monotonic() + APPLY_SECONDS_MAX
    while not _is_applied(applied := applied_offsets(fleet, stage), wanted):
        for worker in fleet:
            worker.check_alive()
        assert time.monotonic() < deadline, f"applied {applied} of {wanted}\n{fleet.logs[-8192:]}"
        time.sleep(POLL_SECONDS)


def _is_applied(applied: Mapping[int, int], wanted: Mapping[int, int]) -> bool:
    """To the record, but for those that come while it is waited for: there are heartbeats."""
    return all(applied.get(number, -1) >= offset for number, offset in wanted.items())


def wait_committed(deployment: Deployment) -> list[int]:
    """Block until the group has committed every record of the events topic; the end offsets."""
    ends = end_offsets(deployment.bootstrap, deployment.topics.events, PARTITIONS)
    deadline = time.monotonic() + APPLY_SECONDS_MAX
    while (committed := committed_offsets(deployment)) != ends:
        assert time.monotonic() < deadline, f"committed {committed} of {ends}"
        time.sleep(POLL_SECONDS)
    return ends


def wait_counted(asking: Asking, metric: str, total: int, *, seconds_max: float = 30.0) -> None:
    """Block until a metric counts ``total`` events over all time; AssertionError beyond it."""
    deadline = time.monotonic() + seconds_max
    while (count := counted(asking, metric)) != total:
        assert count < total, f"{metric} counts {count}, which is more than {total}"
        assert time.monotonic() < deadline, f"{metric} counts {count} of {total}"
        time.sleep(POLL_SECONDS)


def counted(asking: Asking, metric: str) -> int:
    """The events that a metric counts over all the time of the test's events."""
    question = {"metrics": [metric], "aggregations": ["count"], "timeRange": ALL_TIME}
    rows = asking.query(question)["rows"]
    return int(rows[0][1]) if rows else 0


def applied_offsets(fleet: WorkerFleet, stage: str = "aggregate") -> dict[int, int]:
    """The highest durable offset of every partition of a stage, as its owner tells it."""
    found: dict[int, int] = {}
    kind = {"aggregate": "source_partitions", "merge": "metric_partitions"}[stage]
    for worker in fleet:
        owned = worker.asking.readiness().document.get(kind, ())
        samples = worker.asking.samples("analytics_applied_offset{")
        for partition in owned:
            key = f'analytics_applied_offset{{partition="{partition}",stage="{stage}"}}'
            if key in samples:
                found[partition] = int(samples[key])
    return found


def end_offsets(bootstrap: str, topic: str, partitions: int) -> list[int]:
    """The offset after the last record of each partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})
    try:
        return [
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=SEND_SECONDS_MAX)[
                1
            ]
            for number in range(partitions)
        ]
    finally:
        consumer.close()


def committed_offsets(deployment: Deployment) -> list[int]:
    """What the workers' group has committed of each partition of the events topic."""
    group = deployment.topics.group
    consumer = Consumer({"bootstrap.servers": deployment.bootstrap, "group.id": group})
    partitions = [TopicPartition(deployment.topics.events, one) for one in range(PARTITIONS)]
    try:
        return [one.offset for one in consumer.committed(partitions, timeout=SEND_SECONDS_MAX)]
    finally:
        consumer.close()


def records_of(bootstrap: str, topic: str, partitions: int = 1) -> list[Message]:
    """Every record of a topic as of now."""
    return list(_read(bootstrap, topic, end_offsets(bootstrap, topic, partitions)))


def _read(bootstrap: str, topic: str, ends: Sequence[int]) -> Iterator[Message]:
    options = {"bootstrap.servers": bootstrap, "group.id": "reading", "enable.auto.commit": False}
    consumer = Consumer(options)
    waiting = sum(ends)  # no offset is ever left out: neither compaction nor transactions
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(len(ends))])
        while waiting:
            for message in consumer.consume(min(waiting, 5_000), timeout=1.0):
                assert message.error() is None, message.error()
                waiting -= 1
                yield message
    finally:
        consumer.close()
