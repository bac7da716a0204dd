"""The atomic flush: what changed in a table partition goes to its changelog, then to its store."""

import asyncio
import os
from collections.abc import Iterable, Sequence

import structlog

from analytics.errors import StoreError
from analytics.process import crash
from analytics.transport.producer import DurableProducer
from analytics.transport.topic_ids import NO_ID
from tables.changelog import SegmentTable
from tables.segments import (
    Change,
    Entry,
    Owner,
    PaneId,
    Recovered,
    SegmentLog,
    newest_epoch,
    recover,
)

log = structlog.get_logger(__name__)


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
        self._changelog = NO_ID
        #: The store has what the changelog has lost; the next write puts it back.
        self._ahead = False

    @property
    def owner(self) -> Owner:
        """Under whose name this worker writes."""
        return self._recovered_log.owner

    def recover(self, generation: int) -> Recovered:
        """Read the state from the store; the next flush makes this worker its owner. Blocks.

        ``generation`` is the group's in which the partition was given to this worker.

        A store that is ahead of its changelog has outlived it: the topic was deleted, or a broker
        lost its newest records. The next flush then writes all of the state, unless another worker
        has written a newer one meanwhile.

        Raises StoreError when the store cannot be read; it is wiped, so that the next recovery
        rebuilds it.
        """
        store, partition = self._table.store, self._partition
        # Opened here, where an error is the disk's, or another process', and wiping helps nobody.
        held, newest = store.offset(partition), self._table.newest(partition)
        crash.at(f"{self._table.name}.recovering")
        if held is None and newest is not None and newest >= 0:
            raise StoreError(
                f"{self._table.changelog_topic_name}-{partition} was read into a store that is "
                "empty now: start the worker again, and it reads all of it"
            )
        self._changelog = store.changelog
        try:
            entries, outlived = self._entries()
            recovered = recover(entries, os.urandom(8), generation)
        except StoreError:
            store.wipe(partition)
            raise
        crash.at(f"{self._table.name}.recovered")
        self._log = recovered.log
        self._ahead = outlived or (held is not None and newest is not None and held > newest)
        if self._ahead:
            log.warning(
                "writes the whole state: its changelog is behind the store",
                table=self._table.name,
                partition=partition,
                held=held,
                newest=newest,
            )
            self._log.rewrite(recovered.segments)
        return recovered

    def _entries(self) -> tuple[Iterable[tuple[bytes, bytes]], bool]:
        """What there is to recover from, and whether some of it is not on the changelog."""
        store, partition = self._table.store, self._partition
        outlived = store.outlived(partition)
        if not outlived:
            return store.entries(partition), False
        held = dict(store.entries(partition))
        if newest_epoch(outlived) <= newest_epoch(held):
            return held.items(), False
        return (held | outlived).items(), True

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
        """`prepare` and `write`."""
        await self.write(self.prepare(changes, closed, applied, state))

    def prepare(
        self, changes: Sequence[Change], closed: Iterable[PaneId], applied: int, state: bytes
    ) -> list[Entry]:
        """What `write` has to write to make the state as of ``applied`` durable.

        Call it before anything else is folded: it reads rows of the panes beside ``changes``.
        """
        return self._recovered_log.flush(changes, closed, applied, state)

    async def write(self, entries: Sequence[Entry]) -> None:
        """Write what `prepare` returned. One call at a time, in the same order.

        Raises TransportError or StoreError; what was prepared is then lost, and a later flush would
        build on it: recover anew.
        """
        topic = self._table.changelog_topic_name
        crash.at(f"{self._table.name}.logging")
        offset = await self._producer.append(topic, self._partition, entries)
        crash.at(f"{self._table.name}.logged")
        if await asyncio.to_thread(self._store, entries, offset):
            crash.at(f"{self._table.name}.stored")
            return
        # The marker would vouch for segments that were on the changelog before.
        await self._producer.append(topic, self._partition, [(self.owner.marker_key(), None)])
        raise StoreError(
            f"{topic} was deleted while this worker used it: start the worker again, and it writes "
            "its state anew"
        )

    def _store(self, entries: Sequence[Entry], offset: int) -> bool:
        """Write to the store what is on the changelog; False when that is not the one we know."""
        store = self._table.store
        held = store.offset(self._partition)
        if store.changelog != self._changelog:
            return False
        if held is not None and 0 <= offset <= held and not self._ahead:
            return False
        if offset < 0 or offset - len(entries) > (-1 if held is None else held):
            # Somebody else wrote in between, and the store does not have it. With our offset it
            # would claim to, and the next recovery would leave it out: let it stay behind. The
            # same where the offset is not known.
            log.warning(
                "left the store behind its changelog, which has entries of another worker",
                table=self._table.name,
                partition=self._partition,
                held=held,
                written=offset,
            )
            return True
        store.write(self._partition, entries, offset)
        store.forget_outlived(self._partition)
        self._table.appended_to[self._partition] = offset
        self._ahead = False
        return True

    def committed(self, offset: int) -> None:
        """The group accepted the commit of ``offset`` for the source of this partition."""
        if self._log is not None:
            self._log.confirm(offset)

    @property
    def _recovered_log(self) -> SegmentLog:
        if self._log is None:
            raise RuntimeError("recover() comes before the first flush")
        return self._log
