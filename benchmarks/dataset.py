"""Owns what the benchmarks put into Kafka before they measure; it must not measure anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from rich.progress import Progress

from benchmarks import events
from tests.services.topics import create_topic

PARTITIONS = 8
_QUEUE_KIB = 256 << 10
_SECONDS_MAX = 60.0
#: What `delete_records` takes for all that a partition holds.
_END = -1


@dataclass(frozen=True, slots=True)
class Dataset:
    """`n` seeded events, `framing` of them in each record, in the events topic of a prefix."""

    n: int
    framing: int
    seed: int
    compression: str

    @property
    def prefix(self) -> str:
        """What the topics of a worker that reads this are prefixed with."""
        return f"n{self.n}-by{self.framing}-{self.compression}-"

    @property
    def topic(self) -> str:
        """The events topic."""
        return f"{self.prefix}events"


def preload(bootstrap: str, dataset: Dataset, progress: Progress) -> int:
    """Create the topics of a worker and fill the events topic; returns the bytes of the events."""
    create_topic(bootstrap, dataset.topic, partitions=PARTITIONS)
    create_topic(bootstrap, f"{dataset.prefix}partials", partitions=PARTITIONS)
    create_topic(bootstrap, f"{dataset.prefix}dead-letters")
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": dataset.compression,
            "linger.ms": 20,
            "batch.size": 900_000,
            "queue.buffering.max.kbytes": _QUEUE_KIB,
        }
    )
    size = 0
    task = progress.add_task(f"fill {dataset.topic}", total=dataset.n)
    for number, value in enumerate(_records(dataset)):
        while True:
            try:
                producer.produce(dataset.topic, value, partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        size += len(value)
        progress.advance(task, dataset.framing)
    if producer.flush(_SECONDS_MAX):
        raise TimeoutError(f"Kafka did not take all of {dataset.topic} in {_SECONDS_MAX:.0f} s")
    progress.remove_task(task)
    return size


def purge(bootstrap: str, topic: str) -> None:
    """Delete all records of a topic, so that the next run does not see those of the last one."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    everything = [TopicPartition(topic, number, _END) for number in range(PARTITIONS)]
    for future in admin.delete_records(everything).values():
        future.result(_SECONDS_MAX)


def _records(dataset: Dataset) -> Iterator[bytes]:
    lines = events.lines(dataset.n, dataset.seed)
    while record := list(islice(lines, dataset.framing)):
        yield b"\n".join(record)
