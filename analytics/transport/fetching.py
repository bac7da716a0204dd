"""Owns how bytes of a fetch become records: all of a partition at once, not one at a time.

aiokafka makes an object of a dozen fields of every record, in Python. Who reads whole batches needs
offset, key and value, and gets aiokafka's own compiled records, listed by one call. It also sums up
the bytes without the instruction that processors have for that; `google_crc32c` uses it.

aiokafka has no seam for this, so two names in the module of its fetcher are replaced, for all of
the process. Topics that nobody named are read as ever.
"""

import struct
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, Self

import google_crc32c
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from analytics.transport.records import KeyedRecord

_StockRecords: Any = fetcher.PartitionRecords

# https://kafka.apache.org/documentation/#recordbatch: base offset and the length of what follows,
# which all versions begin with; in version 2 the checksum is of everything behind it.
_HEAD = struct.Struct(">qi")
_MAGIC_AT = 16
_MAGIC = 2
_CRC = struct.Struct(">I")
_CRC_AT = 17
_SUMMED_FROM = _CRC_AT + _CRC.size


class Fetched(NamedTuple):
    """Consecutive records of a partition, and between which offsets they stand.

    ``position`` is where the fetch began, whatever was asked for since; ``end`` is where to go on.
    There may be no record between them: control records, or what compaction took.
    """

    position: int
    records: list[KeyedRecord]
    end: int


def fetch_at_once(topics: Collection[str]) -> None:
    """From now on consumers of this process get one `Fetched` for all records of ``topics``."""

    def records_of(tp: TopicPartition, fetched: _Bytes, *rest: Any) -> Any:
        _, offset, *_, check_crcs, isolation = rest
        if tp.topic in topics and isolation != fetcher.READ_COMMITTED:
            return Reading(tp, fetched.content, offset, check_crcs=check_crcs)
        return _StockRecords(tp, MemoryRecords(fetched.content), *rest)

    fetcher.MemoryRecords, fetcher.PartitionRecords = _Bytes, records_of


class _Bytes:
    """What a fetch brought of a partition, not looked into yet."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def has_next(self) -> bool:
        """Whether it has a whole batch: a broker cuts off what goes beyond the limit."""
        return _end_of_batch(self.content, 0) is not None

    def size_in_bytes(self) -> int:
        """Its size."""
        return len(self.content)


class Reading:
    """Gives out once all that was fetched of a partition, from ``next_fetch_offset`` on.

    Raises CorruptRecordException for a batch whose bytes are not those that were sent.
    """

    def __init__(
        self, tp: TopicPartition, content: bytes, offset: int, *, check_crcs: bool
    ) -> None:
        self._tp = tp
        self._content = content
        self._at = 0
        self._check_crcs = check_crcs
        #: Where to fetch from next; control records are passed over.
        self.next_fetch_offset = offset

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Fetched:
        position = self.next_fetch_offset
        try:
            records = [record for batch in self._batches() for record in batch]
        except Exception:
            # Whoever goes on reading after this must get nothing: the batch is fetched again.
            self._at = len(self._content)
            raise
        if self.next_fetch_offset == position:
            raise StopIteration
        return Fetched(position, records, self.next_fetch_offset)

    def _batches(self) -> Iterator[list[KeyedRecord]]:
        while (end := _end_of_batch(self._content, self._at)) is not None:
            content, self._at = self._content[self._at : end], end
            batch = self._batch(content)
            records: list[KeyedRecord] = [] if batch.is_control_batch else list(batch)
            if records and records[0].offset < self.next_fetch_offset:
                records = [one for one in records if one.offset >= self.next_fetch_offset]
            # Of a batch the last offset is kept, even when its last record is compacted away.
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
            yield records

    def _batch(self, content: bytes) -> Any:
        if content[_MAGIC_AT] != _MAGIC:  # as brokers before 0.11 have written it
            batch = MemoryRecords(content).next_batch()
            right = not self._check_crcs or batch.validate_crc()
        else:
            batch = DefaultRecordBatch(content)
            right = not self._check_crcs or _is_whole(content)
        if not right:
            raise CorruptRecordException(f"Invalid CRC - {self._tp}")
        return batch


def _is_whole(content: bytes) -> bool:
    [crc] = _CRC.unpack_from(content, _CRC_AT)
    return bool(crc == google_crc32c.value(content[_SUMMED_FROM:]))


def _end_of_batch(content: bytes, at: int) -> int | None:
    """Where the batch that begins at ``at`` ends; None when that is not there."""
    if at + _SUMMED_FROM > len(content):
        return None
    _, size = _HEAD.unpack_from(content, at)
    end: int = at + _HEAD.size + size
    return end if end <= len(content) else None
