"""The atomic flush: what changed in a table partition goes to its changelog, then to its store."""

import asyncio
import os
from collections.abc import Iterable, Sequence

from analytics.transport.producer import DurableProducer
from tables.changelog import SegmentTable
from tables.segments import Change, Owner, PaneId, Recovered, SegmentLog, recover


class TablePartition:
    """One partition of a `SegmentTable` that this worker owns, from takeover to revocation.

    The store is never ahead of the changelog: it gets the same entries once they are acknowledged,
    with the changelog offset they end at. Dying in between leaves the store behind, and recovery
    reads the rest from the changelog.
    """

    def __init__(self, table: SegmentTable, partition: int, producer: DurableProducer) -> None:
        self._table = table
        self._partition = partition
        self._producer = producer
        self._log: SegmentLog | None = None

    @property
    def owner(self) -> Owner:
        """Under whose name this worker writes."""
        return self._recovered_log.owner

    def recover(self) -> Recovered:
        """Read the state from the store; the next flush makes this worker its owner. Blocks.

        Raises StoreError when the store cannot be read; wiped, it is rebuilt by the next recovery.
        """
        recovered = recover(self._table.store.entries(self._partition), os.urandom(8))
        self._log = recovered.log
        return recovered

    def still_ours(self) -> bool:
        """Whether nobody took over since our last flush, going by what the changelog brought."""
        if self._log is None:
            return False
        markers = [key for key, _ in self._table.store.entries(self._partition, b"m")]
        mine = self._log.owner
        others = [key for key in markers if key != mine.marker_key()]
        return len(others) < len(markers) and all(key < mine.epoch_key() for key in others)

    async def flush(
        self, changes: Sequence[Change], closed: Iterable[PaneId], applied: int, state: bytes
    ) -> None:
        """Make the state as of ``applied`` durable, or raise TransportError. One call at a time."""
        entries = self._recovered_log.flush(changes, closed, applied, state)
        topic = self._table.changelog_topic_name
        offset = await self._producer.append(topic, self._partition, entries)
        await asyncio.to_thread(self._table.store.write, self._partition, entries, offset)

    def committed(self, offset: int) -> None:
        """The group accepted the commit of ``offset`` for the source of this partition."""
        if self._log is not None:
            self._log.confirm(offset)

    @property
    def _recovered_log(self) -> SegmentLog:
        if self._log is None:
            raise RuntimeError("recover() comes before the first flush")
        return self._log
