"""Owns a broker and its clients' disks, in memory: logs, compaction, stores, a clock."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple, Protocol

from analytics.core.delivery import Delivery, decode_delivery
from analytics.topics import Topics, owner_partition
from analytics.transport.producer import Outgoing
from analytics.transport.topic_ids import NO_ID
from tables.segments import Entry
from tests.property.pipeline.oracle import CATALOG, EVENTS_MAX, Line, Record, Rows, add, panes_of

SOURCES = 2
TOPICS = Topics()


class Unit(NamedTuple):
    """What one worker owns at a time: a partition of one of the two phases."""

    stage: str
    partition: int


SOURCE_UNITS = tuple(Unit("aggregate", partition) for partition in range(SOURCES))
#: All metrics of these tests lead here; the other partition of `partials` stays empty.
MERGE_UNIT = Unit("merge", owner_partition(CATALOG.metrics[0].name, SOURCES))
UNITS = (*SOURCE_UNITS, MERGE_UNIT)
TABLES = {"aggregate": "panes", "merge": "merged"}
CHANGELOGS = {TOPICS.changelog(table): stage for stage, table in TABLES.items()}


class Stored(NamedTuple):
    """A record of a changelog or of `partials`, as a fetch returns it."""

    offset: int
    key: bytes | None
    value: bytes | None


class Events:
    """One partition of the events topic, and which events belong where."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.lines: list[Line] = []
        self.end = 0
        self.newest_ms = 5_000
        #: Every event by pane and series, be it late or not.
        self.all: Rows = {}

    def append(self, lines: Sequence[Line], hole: int = 0) -> None:
        """Add a record, behind as many offsets that hold nothing."""
        offset = self.end + hole
        self.records.append(Record(offset, b"\n".join(line.raw for line in lines), lines))
        self.end = offset + 1
        for line in lines:
            if line.at_ms is not None:
                for _, at in panes_of(line.at_ms):
                    add(self.all, at, line)

    def room(self, lines: int) -> bool:
        """Whether so many events more can still be told apart in a sum."""
        return len(self.lines) + lines <= EVENTS_MAX

    def between(self, first: int, last: int) -> list[Record]:
        """Records from offset ``first`` to ``last``."""
        return [record for record in self.records if first <= record.offset <= last]


class Changelog:
    """One partition of a compacted topic."""

    def __init__(self) -> None:
        self.records: list[Stored] = []
        self.end = 0

    def append(self, batch: Sequence[Entry]) -> int:
        """Add a record batch; the offset of its last record."""
        for key, value in batch:
            self.records.append(Stored(self.end, key, value))
            self.end += 1
        return self.end - 1

    def compact(self, *, drop_deletes: bool) -> None:
        """Keep the newest record of each key."""
        newest = {one.key: one.offset for one in self.records}
        self.records = [
            one
            for one in self.records
            if newest[one.key] == one.offset and not (drop_deletes and one.value is None)
        ]

    def after(self, offset: int) -> list[Stored]:
        """What a reader gets that has read up to ``offset``."""
        return [one for one in self.records if one.offset > offset]

    def live(self) -> dict[bytes, bytes]:
        """What a store holds that has read all of it."""
        newest = {one.key: one.value for one in self.records}
        return {key: value for key, value in newest.items() if key and value is not None}


class Partials:
    """The partition of `partials` that all metrics of these tests lead to."""

    def __init__(self) -> None:
        self.records: list[Stored] = []
        self.deliveries: list[Delivery] = []

    @property
    def end(self) -> int:
        """Offset of the next record."""
        return len(self.records)

    def append(self, one: Outgoing) -> Delivery:
        """Add a record; the delivery it holds."""
        assert one.value is not None
        assert one.partition == MERGE_UNIT.partition
        self.records.append(Stored(self.end, one.key, one.value))
        self.deliveries.append(decode_delivery(one.value))
        return self.deliveries[-1]


class Reader(Protocol):
    """Whose clock is read."""

    #: How far its clock is ahead of the others'.
    ahead_ms: int


class Clock:
    """Stands in for `analytics.clock`: whose wall clock depends on who runs; and chance."""

    #: Of the run under way.
    current: ClassVar["Clock"]

    def __init__(self) -> None:
        Clock.current = self
        self.wall_ms = 0
        self.seconds = 100.0
        self.reader: Reader | None = None
        self._drawn = 0

    def urandom(self, n: int) -> bytes:
        """Bytes that are the same in every run."""
        self._drawn += 1
        return hashlib.blake2b(self._drawn.to_bytes(8, "big"), digest_size=n).digest()

    def now_ms(self) -> int:
        """Wall-clock time, which may jump."""
        return self.wall_ms + (0 if self.reader is None else self.reader.ahead_ms)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self.seconds


class Store:
    """`tables.store.Store` in memory: the partitions of one table on one disk."""

    def __init__(self) -> None:
        self._entries: dict[int, dict[bytes, bytes]] = {}
        self._offsets: dict[int, int] = {}
        #: Here no changelog is ever made anew.
        self.changelog = NO_ID

    def outlived(self, _: int) -> dict[bytes, bytes]:
        """What was held of a former changelog."""
        return {}

    def forget_outlived(self, _: int) -> None:
        """There is none."""

    def offset(self, partition: int) -> int | None:
        """Newest changelog offset held, None when nothing is."""
        return self._offsets.get(partition)

    def write(self, partition: int, entries: Sequence[Entry], offset: int) -> None:
        """Write all of them and the offset."""
        held = self._entries.setdefault(partition, {})
        for key, value in entries:
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
        self._offsets[partition] = offset

    def entries(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Entries whose key begins with ``prefix``, in key order."""
        for key, value in sorted(self._entries.get(partition, {}).items()):
            if key.startswith(prefix):
                yield key, value

    def wipe(self, partition: int) -> None:
        """Forget a partition."""
        self._entries.pop(partition, None)
        self._offsets.pop(partition, None)


class Disk:
    """What outlives a process: the stores of both tables."""

    def __init__(self) -> None:
        self.stores = {stage: Store() for stage in TABLES}

    def wipe(self, unit: Unit) -> None:
        """Forget what is held of ``unit``."""
        self.stores[unit.stage].wipe(unit.partition)


class Kafka:
    """The topics, and the generation of the consumer group."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events = tuple(Events() for _ in SOURCE_UNITS)
        self.partials = Partials()
        self.changelogs = {unit: Changelog() for unit in UNITS}
        #: (partition, offset, line) of every dead letter.
        self.letters: set[tuple[int, int, int]] = set()
        self.generation = 0

    def end(self, unit: Unit) -> int:
        """Offset of the next record that ``unit`` reads."""
        return self.partials.end if unit == MERGE_UNIT else self.events[unit.partition].end

    def fetch(self, unit: Unit, first: int, n: int) -> list[Record] | list[Stored]:
        """Up to ``n`` records that ``unit`` reads, from offset ``first``."""
        if unit == MERGE_UNIT:
            return self.partials.records[first : first + n]
        return self.events[unit.partition].between(first, self.events[unit.partition].end)[:n]
