"""Owns a batch consumer that reads from a stand-in for the thread that talks to Kafka."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, cast

from faust.types import TP, ConsumerMessage

from analytics.transport.batch import BatchConsumer
from analytics.transport.fetching import Fetched
from analytics.transport.records import RecordBatch

EVENTS, OTHER_EVENTS, CHANGELOG = TP("events", 0), TP("events", 1), TP("changelog", 0)
TABLE = TP("table-changelog", 0)


class Record(NamedTuple):
    """What aiokafka makes of a record."""

    topic: str
    partition: int
    offset: int
    value: bytes | None = b"{}"
    timestamp: int = 0
    timestamp_type: int = 0
    headers: tuple[()] = ()
    key: bytes | None = None
    checksum: None = None
    serialized_key_size: int = 0
    serialized_value_size: int = 2


def records(tp: TP, *offsets: int) -> list[Record]:
    return [Record(tp.topic, tp.partition, offset) for offset in offsets]


Fetch = Mapping[TP, list[Any]]


def fetched_from(position: int, tp: TP, *offsets: int) -> list[Any]:
    """What a fetch from an offset has brought; of batch topics all is one."""
    found = records(tp, *offsets)
    if tp.topic not in (EVENTS.topic, TABLE.topic) or not found:
        return list(found)
    return [Fetched(position, list(found), offsets[-1] + 1)]


class Thread:
    """Answers what Faust asks its consumer thread, and notes what it was told."""

    beacon = None

    def __init__(self) -> None:
        self.assigned = {EVENTS, OTHER_EVENTS, CHANGELOG, TABLE}
        self.fetches: list[Fetch] = []
        self.during_fetch: Callable[[], Awaitable[object]] | None = None
        self.oldest = {EVENTS: 0, OTHER_EVENTS: 0}
        self.ends = {EVENTS: 50}
        self.seeks: list[tuple[TP, int]] = []
        self.commits: list[Mapping[TP, int]] = []
        self.accepts = True
        self.during_commit: Callable[[], None] = lambda: None

    async def getmany(self, active: object, timeout: float) -> Fetch:
        if self.during_fetch is not None:
            await self.during_fetch()
        return self.fetches.pop(0) if self.fetches else {}

    def assignment(self) -> set[TP]:
        return self.assigned

    def highwater(self, tp: TP) -> int | None:
        return self.ends.get(tp)

    def seek(self, tp: TP, offset: int) -> None:
        self.seeks.append((tp, offset))

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        self.seeks.extend(partitions.items())

    async def seek_to_committed(self) -> Mapping[TP, int]:
        return {}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self.oldest.get(tp, 0) for tp in partitions}

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        self.during_commit()
        return self.accepts


class State:
    """The cursor: what the state holds, and what the consumer told it."""

    def __init__(self) -> None:
        self.positions: dict[TP, int] = {}
        self.told: list[tuple[TP, int]] = []
        self.commits: list[tuple[TP, int]] = []
        self.on_revoke: Callable[[], None] = lambda: None

    def position(self, tp: TP) -> int | None:
        return self.positions.get(tp)

    def reading_from(self, tp: TP, offset: int) -> None:
        self.told.append((tp, offset))

    def committed(self, tp: TP, offset: int) -> None:
        self.commits.append((tp, offset))

    async def before_revoke(self) -> None:
        self.on_revoke()


class Producer:
    """Faust's own producer, which our topics do not use."""

    async def flush(self) -> None:
        return None


class Rig(NamedTuple):
    """A consumer that reads from a thread of the test."""

    app: Any
    consumer: BatchConsumer
    thread: Thread
    state: State

    async def poll(self) -> list[tuple[TP, ConsumerMessage]]:
        return [one async for one in self.consumer.getmany(1.0)]

    async def fetch(
        self, *, offsets: list[int], position: int | None = None, tp: TP = EVENTS
    ) -> list[RecordBatch]:
        """Batches of one fetch from a position, by default that of the first record."""
        begin = offsets[0] if position is None else position
        self.thread.fetches.append({tp: fetched_from(begin, tp, *offsets)})
        return [cast(RecordBatch, message.value) for _, message in await self.poll()]
