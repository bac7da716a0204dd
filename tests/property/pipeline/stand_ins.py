"""Owns what stands in for Faust, aiokafka and asyncio where the agents of a worker meet them.

It mirrors what `analytics.transport.batch` and `tables.changelog` make of them. An await of a
broker, a disk or the event loop is a *pause*.
"""

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from faust.types import TP

from analytics.transport.producer import Outgoing
from analytics.transport.records import RecordBatch
from tables.changelog import SegmentStore, SegmentTable
from tables.segments import Entry
from tests.property.pipeline.kafka import CHANGELOGS, TABLES, TOPICS, Disk, Kafka, Unit
from tests.property.pipeline.witness import Claim, Witness

T = TypeVar("T")


class _Pause:
    def __await__(self) -> Generator[None]:
        yield


PAUSE = _Pause()


async def to_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Stands in for `asyncio.to_thread`."""
    await PAUSE
    return work(*arguments)


async def gather(*awaitables: Coroutine[Any, Any, T]) -> list[T]:
    """Stands in for `asyncio.gather`: one after the other."""
    return [await one for one in awaitables]


def tp_of(unit: Unit) -> TP:
    return TP(TOPICS.events if unit.stage == "aggregate" else TOPICS.partials, unit.partition)


@dataclass(eq=False, slots=True)
class Task:
    """Something a worker does that may stop at any await."""

    kind: str
    unit: Unit | None
    run: Coroutine[Any, Any, Any]
    #: Entries in a record batch of the changelog.
    cut: int
    #: What this task makes durable: known when a takeover has read, when a flush has begun.
    claim: Claim | None = None
    done: bool = False


class Process(Protocol):
    """The worker that something belongs to."""

    kafka: Kafka
    witness: Witness

    @property
    def running(self) -> Task:
        """The task that is running."""


class Consumer:
    """The part of `BatchConsumer` that the agents talk to."""

    def __init__(self, kafka: Kafka, app: "App") -> None:
        self._kafka = kafka
        self._app = app
        self.durable: dict[TP, int] = {}
        self.positions: dict[TP, int] = {}
        self.ends: dict[TP, int] = {}

    def mark_durable(self, tp: TP, offset: int) -> None:
        self.durable[tp] = max(offset, self.durable.get(tp, -1))

    async def reread(self, tp: TP, offset: int) -> None:
        await PAUSE
        self.positions[tp] = offset

    async def proves(self, durable: Mapping[TP, int]) -> bool:
        """Mirrors `BatchConsumer.proves`."""
        await PAUSE
        accepted = self._app.consumer_generation_id == self._kafka.generation
        await PAUSE
        return accepted

    def end_offset(self, tp: TP) -> int | None:
        return self.ends.get(tp)


class App:
    """The part of the Faust app that the agents look at."""

    def __init__(self, kafka: Kafka) -> None:
        self.consumer = Consumer(kafka, self)
        self.consumer_generation_id = 0


class Producer:
    """A `DurableProducer`: order is kept in a partition, not between partitions."""

    def __init__(self, worker: Process) -> None:
        self._worker = worker

    async def append(self, topic: str, partition: int, entries: Sequence[Entry]) -> int:
        worker, unit = self._worker, Unit(CHANGELOGS[topic], partition)
        offset = -1
        for batch in cut([Entry(*one) for one in entries], worker.running.cut):
            await PAUSE
            offset = worker.kafka.changelogs[unit].append(batch)
            worker.witness.logged(unit, batch, worker.running.claim)
        return offset

    async def send(self, records: Sequence[Outgoing]) -> None:
        worker = self._worker
        for one in records:
            await PAUSE
            if one.topic == TOPICS.dead_letters:
                worker.witness.lettered(one)
            else:
                worker.witness.published(worker.kafka.partials.append(one), worker.running.claim)


def cut(entries: Sequence[T], n: int) -> list[Sequence[T]]:
    """Pieces of ``n``, in order."""
    return [entries[first : first + n] for first in range(0, len(entries), n)]


class Table:
    """The part of `SegmentTable` that is not Faust's."""

    def __init__(self, stage: str, app: App, disk: Disk) -> None:
        self.name = TABLES[stage]
        self.app = app
        self.store = disk.stores[stage]
        self.changelog_topic_name = TOPICS.changelog(self.name)
        self.recovered_to: dict[int, int] = {}
        self.appended_to: dict[int, int] = {}

    @property
    def _topic(self) -> str:
        return self.changelog_topic_name

    newest = SegmentTable.newest
    apply: ClassVar[Callable[[Any, RecordBatch], None]] = SegmentStore._apply
