"""A Faust table whose changelog holds segments; Faust assigns, recovers and routes it as ever.

What Faust's own tables do key by key (encode, one changelog message, one store write and a second
one for its offset) happens here once a flush, see `tables.partition`.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.stores.base import Store as FaustStore
from faust.types import TP, AppT, EventT, TopicT

from analytics import clock
from analytics.errors import AnalyticsError, StoreError
from analytics.transport.records import KeyedRecord, RecordBatch, RecordBatchSchema
from tables.segments import Entry
from tables.store import Store

log = structlog.get_logger(__name__)

#: For how long a standby goes back to where it missed something; then it reads all of it.
HOLE_SECONDS_MAX = 10.0

TakeOver = Callable[[frozenset[int]], Awaitable[None]]
Release = Callable[[frozenset[int]], None]
Identify = Callable[[str], Awaitable[bytes | None]]


class SegmentStore(FaustStore[bytes, bytes]):
    """Adapter: what Faust wants of a store, answered by ours."""

    def __init__(self, *args: Any, store: Store, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.store = store

    @property
    def _topic(self) -> str:
        return cast(SegmentTable, self.table).changelog_topic_name

    def persisted_offset(self, tp: TP) -> int:
        """Changelog offset up to which the local store is complete, -1 when it is empty.

        Not None: Faust would go on from wherever it last read this partition.
        """
        held = self.store.offset(tp.partition)
        return -1 if held is None else held

    def apply_changelog_batch(
        self, batch: Iterable[EventT[Any]], to_key: Any, to_value: Any
    ) -> None:
        """Copy recovered changelog records, a `RecordBatch` an event, into the local store."""
        for event in batch:
            # While partitions move, Faust may hand a table what was fetched for another one.
            if event.message.topic == self._topic:
                self._apply(cast(RecordBatch, event.value))

    def _apply(self, batch: RecordBatch) -> None:
        held = self.store.offset(batch.partition)
        if held is not None and batch.position > held + 1:
            # With the offset of this batch it would pass for complete.
            if cast(SegmentTable, self.table).reads_again(batch.partition, held):
                return
            self.store.wipe(batch.partition)
            raise StoreError(
                f"{self._topic}-{batch.partition} continues at "
                f"{batch.position}, the local state ends at {held}: start the worker again, and "
                "it reads all of it"
            )
        if held is None or batch.end > held + 1:
            records = cast(Sequence[KeyedRecord], batch.after(-1 if held is None else held))
            entries = [Entry(one.key, one.value or None) for one in records if one.key is not None]
            # Compaction may have left a hole behind the last record: what comes next follows it.
            self.store.write(batch.partition, entries, batch.end - 1)

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """Refuse: the changelog is the backup."""
        raise StoreError("a table of segments has no backups: its changelog is one")

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """Refuse: the changelog is the backup."""
        raise StoreError("a table of segments has no backups: its changelog is one")

    def reset_state(self) -> None:
        """Forget everything local; Faust calls this for `worker --reset`."""
        for partition in range(self.table.partitions or 0):
            self.store.wipe(partition)

    async def on_stop(self) -> None:
        """Close the databases."""
        self.store.close_all()


class SegmentTable(faust.Table[bytes, bytes]):
    """A table partition is taken over after each recovery and released when it is revoked.

    ``take_over`` gets the active partitions once their changelog is read; only when it returns
    does Faust seek and start the stream. ``release`` gets the partitions that are gone.
    ``identify`` tells the id of a topic, None when there is no such topic.
    """

    def __init__(self, app: AppT, *, name: str, partitions: int, directory: Path) -> None:
        super().__init__(
            app,
            name=name,
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
        )
        # Events of this table are whole fetches. Faust applies them so many at a time; with 1 it
        # would go on reading the changelog of its own writes.
        self.recovery_buffer_size = 2
        self.standby_buffer_size = 1
        self.store = Store(directory / name)
        self.take_over: TakeOver | None = None
        self.release: Release | None = None
        self.identify: Identify | None = None
        #: By partition, the newest offset on the changelog when it was last recovered, -1 for none.
        self.recovered_to: dict[int, int] = {}
        #: The same of what this worker has appended since.
        self.appended_to: dict[int, int] = {}
        #: By partition, where a hole was found that is being read again, and since when.
        self._holes: dict[int, tuple[int, float]] = {}
        self._seeking: set[int] = set()
        #: The store did not take what was read: the worker is about to end, and nothing counts.
        self._failed = False

    def newest(self, partition: int) -> int | None:
        """The newest offset on a changelog that is known of, None while none is.

        A takeover may begin before an earlier one of the same partition has ended: recovery then
        measured the changelog before the claim of that one was on it.
        """
        recovered = self.recovered_to.get(partition)
        if recovered is None:
            return None
        return max(recovered, self.appended_to.get(partition, -1))

    def reads_again(self, partition: int, held: int) -> bool:
        """Go back to the offset ``held`` where a standby has missed what comes after it.

        While partitions move, Faust may count what it drops as read. A standby has time to read it
        again, for so long as HOLE_SECONDS_MAX; a partition that is about to be taken over has not:
        Faust may already have called its recovery complete.
        """
        recovery, tp = cast(Any, self.app.tables).recovery, TP(self.changelog_topic_name, partition)
        known, since = self._holes.get(partition, (None, 0.0))
        if known != held:
            since = clock.monotonic()
            self._holes[partition] = held, since
        late = clock.monotonic() - since > HOLE_SECONDS_MAX
        if tp not in recovery.standby_tps or tp in recovery.active_tps or late:
            return False
        recovery.standby_offsets[tp] = held
        if partition not in self._seeking:
            self._seeking.add(partition)
            self.add_future(self._seek(tp, held + 1))
        return True

    async def _seek(self, tp: TP, offset: int) -> None:
        log.warning("reads a changelog again: some of it was missed", tp=str(tp), offset=offset)
        try:
            await self.app.consumer.seek_wait({tp: offset})
        except (KafkaError, TimeoutError) as error:
            log.info("did not go back: the partitions are moving", tp=str(tp), error=str(error))
        finally:
            self._seeking.discard(tp.partition)

    def _new_store(self) -> SegmentStore:
        return SegmentStore(
            "segments://",
            self.app,
            self,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            store=self.store,
        )

    def _new_changelog_topic(self, **options: Any) -> TopicT:
        topic = super()._new_changelog_topic(**options)
        topic.schema = RecordBatchSchema()
        return topic

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Copy what was read into the store, or crash: Faust drops exceptions raised here."""
        if self._failed:
            return
        try:
            super().apply_changelog_batch(batch)
        except StoreError as error:
            self._failed = True
            # Not `_crash`, which leaves the process running around an app that does nothing.
            self.add_future(self.app.crash(error))

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Let go of what is no longer ours to write.

        That is more than what was revoked: as its standby, this worker goes on reading the
        changelog of a partition that another one now owns.
        """
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        topic = self.changelog_topic_name
        actives = {tp.partition for tp in self.app.assignor.assigned_actives() if tp.topic == topic}
        if self.release is not None:
            self.release(frozenset(range(self.partitions or 0)) - actives)
        for tp in revoked:
            if tp.topic == topic:
                self.store.close(tp.partition)
        try:
            await self._follow()
        except AnalyticsError as error:
            self._failed = True
            await self.app.crash(error)

    async def _follow(self) -> None:
        """Before its recovery: see to it that no offset of a changelog that is gone is believed."""
        if self.identify is None:
            return
        changelog = await self.identify(self.changelog_topic_name)
        if changelog is None:
            raise StoreError(
                f"{self.changelog_topic_name} is gone: start the worker again, and it makes the "
                "topic and writes its state anew"
            )
        self.store.follow(changelog)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Take over the active partitions, or crash: Faust drops exceptions raised here."""
        await super().on_recovery_completed(active_tps, standby_tps)
        newest = cast(Any, self.app.tables).recovery.active_highwaters
        self.recovered_to = {tp.partition: newest[tp] for tp in active_tps if tp in newest}
        if self.take_over is None or self._failed:
            return
        try:
            await self.take_over(frozenset(tp.partition for tp in active_tps))
        except Exception as error:
            # A worker that is stopped in the middle of it stops in order: it owns nothing yet.
            if not self.app.should_stop:
                await self.app.crash(error)
