"""Owns workers that share a Kafka in memory, each with a disk of its own; asserts nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import faust
from faust.types import TP

from agents.aggregate import Aggregate
from agents.context import Context
from agents.merge import MergeAgent
from agents.partitions import Held, Partitions
from analytics.core.definitions.catalog import Catalog
from analytics.core.delivery import Delivery, decode_delivery
from analytics.metrics import Metrics
from analytics.settings import Settings
from analytics.testing import MemoryProducer
from analytics.topics import MERGED_TABLE, PANES_TABLE, Topics
from analytics.transport.records import RecordBatch
from tables.changelog import SegmentTable
from tables.segments import Entry
from tests.unit.phases import CATALOG, counts

SETTINGS = Settings(partitions=2)
TOPICS = Topics()


class Record(NamedTuple):
    """A record of a topic as a fetch returns it."""

    offset: int
    value: bytes | None


class Consumer:
    """What the agents ask of a consumer, noted."""

    def __init__(self) -> None:
        self.durable: dict[TP, int] = {}
        self.rereads: list[tuple[TP, int]] = []
        self.ends: dict[TP, int] = {}
        #: Whether the group still takes this worker for a member.
        self.member = True
        self.proofs: list[Mapping[TP, int]] = []

    async def proves(self, durable: Mapping[TP, int]) -> bool:
        """Note it."""
        self.proofs.append(durable)
        return self.member

    def mark_durable(self, tp: TP, offset: int) -> None:
        """Note it."""
        self.durable[tp] = offset

    async def reread(self, tp: TP, offset: int) -> None:
        """Note it."""
        self.rereads.append((tp, offset))

    def end_offset(self, tp: TP) -> int | None:
        """What the test has set."""
        return self.ends.get(tp)


class App:
    """What the agents need of an application."""

    def __init__(self) -> None:
        self.consumer = Consumer()
        self.consumer_generation_id = 1
        self.crashes: list[BaseException] = []

    async def crash(self, reason: BaseException) -> None:
        """Note it."""
        self.crashes.append(reason)


class Kafka:
    """The topics: events as the test puts them, all else as the workers write it."""

    def __init__(self) -> None:
        self.producer = MemoryProducer()
        self.events: dict[int, list[bytes | None]] = {}

    def put(self, partition: int, *values: bytes | None) -> None:
        """Append records of events."""
        self.events.setdefault(partition, []).extend(values)

    def records(self, topic: str, partition: int) -> Sequence[bytes | None]:
        """Values of a partition."""
        if topic == TOPICS.events:
            return self.events.get(partition, [])
        return [one.value for one in self.producer.records.get((topic, partition), [])]

    def deliveries(self) -> list[Delivery]:
        """All that phase 1 published."""
        return [
            decode_delivery(value)
            for partition in range(SETTINGS.partitions)
            for value in self.records(TOPICS.partials, partition)
            if value is not None
        ]

    def letters(self) -> list[bytes | None]:
        """All dead letters."""
        return list(self.records(TOPICS.dead_letters, 0))


class Worker:
    """Both phases of one worker, with everything but Faust's loop around them."""

    def __init__(
        self,
        kafka: Kafka,
        disk: Path,
        catalog: Catalog = CATALOG,
        settings: Settings = SETTINGS,
    ) -> None:
        self.kafka = kafka
        self.app = App()
        self.metrics = Metrics()
        self.context = Context(self.app, settings, catalog, TOPICS, kafka.producer, self.metrics)
        faust_app = faust.App(TOPICS.group, store="memory://", autodiscover=False)
        self.tables = {
            name: SegmentTable(faust_app, name=name, partitions=SETTINGS.partitions, directory=disk)
            for name in (PANES_TABLE, MERGED_TABLE)
        }
        self.aggregate = Aggregate(self.context, self.tables[PANES_TABLE])
        self.merge = MergeAgent(self.context, self.tables[MERGED_TABLE])

    async def take_over(self, *partitions: int, generation: int = 1) -> None:
        """What Faust does on an assignment: recover, take over, seek."""
        self.app.consumer_generation_id = generation
        for name, phase, topic in self._phases():
            table = self.tables[name]
            for partition in partitions:
                self._recover(table, partition)
            await phase.take_over(partitions)
            for partition in partitions:
                phase.reading_from(partition, phase.position(partition) or 0)
            del topic

    def _phases(self) -> list[tuple[str, Partitions[Any], str]]:
        return [
            (PANES_TABLE, self.aggregate.partitions, TOPICS.events),
            (MERGED_TABLE, self.merge.partitions, TOPICS.partials),
        ]

    def _recover(self, table: SegmentTable, partition: int) -> None:
        log = self.kafka.producer.records.get((table.changelog_topic_name, partition), [])
        held = table.store.offset(partition)
        fresh = log[0 if held is None else held + 1 :]
        if fresh:
            entries = [Entry(one.key or b"", one.value) for one in fresh]
            table.store.write(partition, entries, len(log) - 1)

    def batch(self, topic: str, partition: int, first: int, n: int | None = None) -> RecordBatch:
        """A fetch of ``n`` records (or all) from offset ``first``."""
        values = self.kafka.records(topic, partition)[first:]
        records = [Record(first + at, value) for at, value in enumerate(values[:n])]
        return RecordBatch(partition, first, records, self.app.consumer_generation_id)

    async def read(self, partition: int = 0, n: int | None = None) -> None:
        """Take in events that are there and not yet taken in."""
        held = self.held(partition)
        batch = self.batch(TOPICS.events, partition, held.next_offset or 0, n)
        if batch.records:
            await self.aggregate.take(batch)

    async def deliver(self) -> None:
        """Take in what phase 1 has published for the partitions held."""
        for partition, held in self.merge.partitions.held.items():
            batch = self.batch(TOPICS.partials, partition, held.next_offset or 0)
            if batch.records:
                await self.merge.take(batch)

    async def flush(self) -> None:
        """Flush both phases."""
        await self.aggregate.partitions.flush_all()
        await self.merge.partitions.flush_all()

    def held(self, partition: int = 0) -> Held[Any]:
        """A source partition that is held."""
        return self.aggregate.partitions.held[partition]

    def merged(self) -> dict[int, dict[str, int]]:
        """What queries would see of the metric of these tests."""
        live = self.merge.live(self.context.catalog.metrics[0])
        return {} if live is None else counts(live.panes)

    def close(self) -> None:
        """Close the databases, as the end of the process does."""
        for table in self.tables.values():
            table.store.close_all()
