"""Owns what the benchmarks put into Kafka before they measure; it must not measure anything."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from rich.progress import Progress

from benchmarks.events import ORDERS
from tests.services.topics import create_topic

PARTITIONS = 8
_QUEUE_KIB = 256 << 10
_SECONDS_MAX = 60.0
#: What `delete_records` takes for all that a partition holds.
_END = -1


class Content(Protocol):
    """What the events of a dataset say; a frozen value."""

    @property
    def name(self) -> str:
        """Part of the name of a topic that holds them; two that differ have different names."""

    def lines(self, n: int, seed: int) -> Iterator[tuple[int | None, bytes]]:
        """`n` seeded events; one with a key is put into the partition that its key stands for."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """`n` seeded events, `framing` of them in each record, in the events topic of a prefix."""

    n: int
    framing: int
    seed: int
    compression: str
    content: Content = ORDERS
    partitions: int = PARTITIONS

    @property
    def prefix(self) -> str:
        """What the topics of a worker that reads this are prefixed with."""
        partitions = "" if self.partitions == PARTITIONS else f"p{self.partitions}-"
        return f"n{self.n}-by{self.framing}-{self.compression}-{self.content.name}{partitions}"

    @property
    def topic(self) -> str:
        """The events topic."""
        return f"{self.prefix}events"

    def lines(self) -> Iterator[bytes]:
        """The events."""
        return (line for _, line in self.content.lines(self.n, self.seed))

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(partition, value) of every record.

        Events without a key fill a record of one partition and then one of the next.
        """
        waiting: defaultdict[int, list[bytes]] = defaultdict(list)
        turn = 0
        for key, line in self.content.lines(self.n, self.seed):
            partition = (turn if key is None else key) % self.partitions
            lines = waiting[partition]
            lines.append(line)
            if len(lines) == self.framing:
                yield partition, b"\n".join(waiting.pop(partition))
                turn += 1
        for partition, lines in sorted(waiting.items()):
            yield partition, b"\n".join(lines)


def create_topics(bootstrap: str, dataset: Dataset) -> None:
    """Create the topics of a worker that reads this."""
    create_topic(bootstrap, dataset.topic, partitions=dataset.partitions)
    create_topic(bootstrap, f"{dataset.prefix}partials", partitions=dataset.partitions)
    create_topic(bootstrap, f"{dataset.prefix}dead-letters")


def preload(bootstrap: str, dataset: Dataset, progress: Progress) -> int:
    """Create the topics of a worker and fill the events topic; returns the bytes of the events."""
    create_topics(bootstrap, dataset)
    task = progress.add_task(f"fill {dataset.topic}", total=dataset.n)

    def watched() -> Iterator[tuple[int, bytes]]:
        for record in dataset.records():
            yield record
            progress.advance(task, dataset.framing)

    size = pour(bootstrap, dataset, watched())
    progress.remove_task(task)
    return size


def pour(bootstrap: str, dataset: Dataset, records: Iterable[tuple[int, bytes]]) -> int:
    """Put records of (partition, value) into the events topic; returns the bytes of the events."""
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
    for partition, value in records:
        while True:
            try:
                producer.produce(dataset.topic, value, partition=partition)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        size += len(value)
    if producer.flush(_SECONDS_MAX):
        raise TimeoutError(f"Kafka did not take all of {dataset.topic} in {_SECONDS_MAX:.0f} s")
    return size


def purge(bootstrap: str, topic: str, partitions: int = PARTITIONS) -> None:
    """Delete all records of a topic, so that the next run does not see those of the last one."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    everything = [TopicPartition(topic, number, _END) for number in range(partitions)]
    for future in admin.delete_records(everything).values():
        future.result(_SECONDS_MAX)
