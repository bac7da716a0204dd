"""Records of one partition as one value: what the batch transport hands to an agent."""

from collections.abc import Sequence
from typing import Any, Protocol

import faust
from faust.types import AppT, Message


class Record(Protocol):
    """The part of a Kafka record that the agents read."""

    @property
    def offset(self) -> int:
        """Place in the partition."""

    @property
    def value(self) -> bytes | None:
        """Payload; None for a tombstone."""


class KeyedRecord(Record, Protocol):
    """A record of a changelog."""

    @property
    def key(self) -> bytes | None:
        """What the value belongs to."""


class RecordBatch:
    """Consecutive records of one partition, as one fetch returned them.

    ``position`` is the offset it was fetched from and ``end`` the one to go on from. Offsets may
    have holes (compaction, control records), so only the position tells whether records are missing
    between this batch and the state of its receiver.
    """

    __slots__ = ("end", "generation", "partition", "position", "records")

    def __init__(
        self,
        partition: int,
        position: int,
        records: Sequence[Record],
        generation: int,
        end: int | None = None,
    ) -> None:
        """Without an ``end`` nothing stands behind the last record."""
        self.partition = partition
        self.position = position
        self.records = records
        self.generation = generation
        self.end = end if end is not None else records[-1].offset + 1 if records else position

    def after(self, offset: int) -> Sequence[Record]:
        """Records newer than ``offset``, in order: what a receiver at ``offset`` has not seen."""
        if not self.records or self.records[0].offset > offset:
            return self.records
        return [record for record in self.records if record.offset > offset]


class RecordBatchSchema(faust.Schema[Any, Any]):
    """Passes a batch through untouched: the agent decodes, as an error has a home there."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> None:
        """A batch has no key of its own."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Any:
        """The batch itself."""
        return message.value
