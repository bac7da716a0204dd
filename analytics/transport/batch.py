"""Faust transport that delivers a partition's records of a fetch as one message.

Stock Faust spends about 100 microseconds of Python on every record: four asyncio tasks, a message
object, a decode and an acknowledgement. Here that price is paid once a fetch. Topics that are not
named as batch topics keep Faust's own behaviour.

Offsets of batch topics are not acknowledged message by message. The agent says how far its state is
durable (`BatchConsumer.mark_durable`) and that is what gets committed; and because the state knows
what it holds, it also decides where reading starts (`Cursor.position`). The group's committed
offset is only a hint for people and tools that watch lag.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, cast

import structlog
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage

from analytics import clock
from analytics.errors import AnalyticsError
from analytics.transport.cursor import Cursor
from analytics.transport.fetching import Fetched, fetch_at_once
from analytics.transport.frames import read_by_frames
from analytics.transport.records import RecordBatch

log = structlog.get_logger(__name__)

#: A fetch that comes back sooner than this after the last one is held until then: at low rates a
#: poll would otherwise return for every handful of records and its fixed cost would dominate.
POLL_SPACING_SECONDS = 0.02
#: How long a broker may hold an answer back for want of records. aiokafka has one request to a
#: broker under way at a time, and one sent while records wait to be taken leaves their partitions
#: out: until it is answered nothing is read from those. Faust's 1,500 ms would stop a busy worker.
FETCH_WAIT_MS = 100


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """The stock thread with what Faust has no setting for, or wants to know too early."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        fetch_at_once(cast(BatchConsumer, self.consumer).batched)
        consumer = super()._create_worker_consumer(transport)
        read_by_frames(consumer._client)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._group_instance_id = cast(BatchTransport, transport).member_name
        return consumer


class BatchConsumer(driver.Consumer):
    """Consumer whose batch topics yield one message a partition and fetch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._durable: dict[TP, int] = {}
        #: Of changelogs, the offset that what is read next has to begin at.
        self._next: dict[TP, int] = {}
        #: Fetches that Faust did not wait for.
        self._unseen: list[asyncio.Future[Mapping[TP, list[Any]]]] = []
        self._polled_at = 0.0
        #: Partitions were revoked, and the group has not told yet which come back.
        self._joining = False
        transport = cast(BatchTransport, self.transport)
        self._batch_topics = transport.batch_topics
        self._changelogs = transport.changelogs
        #: Topics that come in batches.
        self.batched = transport.batch_topics | transport.changelogs
        self._cursor = transport.cursor

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def mark_durable(self, tp: TP, offset: int) -> None:
        """Everything of ``tp`` up to and with ``offset`` is durable and may be committed."""
        if offset > self._durable.get(tp, -1):
            self._durable[tp] = offset

    def end_offset(self, tp: TP) -> int | None:
        """The offset after the newest record of ``tp``; None while that is not known."""
        if tp not in self.assignment():
            return None
        return cast(int | None, self.highwater(tp))

    async def proves(self, durable: Mapping[TP, int]) -> bool:
        """Whether these partitions are ours now: the group accepts a commit of what is durable.

        It takes none from a member that it has replaced. Other commits tell the cursor that its
        last flush is known to be the owner's; this one comes before there was any.
        """
        if self._joining or not durable.keys() <= self.assignment():
            return False
        offsets = {tp: offset + 1 for tp, offset in durable.items()}
        return await super()._commit(offsets) and durable.keys() <= self.assignment()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Move reading of ``partitions`` to these offsets."""
        self._next.update({tp: at for tp, at in partitions.items() if tp.topic in self._changelogs})
        await super().seek_wait(partitions)

    async def reread(self, tp: TP, offset: int) -> None:
        """Move reading of ``tp`` to ``offset``, or to the oldest record that is still there."""
        try:
            oldest = (await self.earliest_offsets(tp))[tp]
        except (KafkaError, TimeoutError):
            oldest = 0  # nobody knows; what then comes begins too late again
        if oldest > offset:
            log.error("records were deleted before they were read", tp=str(tp), after=offset)
            self._cursor.reading_from(tp, oldest)
        await self.seek(tp, max(offset, oldest))

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield one message a record, or for batch topics one a partition.

        Mirrors the stock method's checks: nothing is delivered once the flow is suspended or the
        group's generation has moved on, as those records belong to somebody else by then.
        """
        await self._space_polls()
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if self.should_stop or records is None:
            return
        if not self.flow_active:
            await self._give_up()
            return
        missed: dict[TP, int] = {}
        found = [*self._take_unseen(), records]
        for tp, fetched in chain.from_iterable(one.items() for one in found):
            if active is not None and tp not in active:
                continue
            for message in self._messages(tp, fetched, generation, missed):
                if self._moved_on(generation):
                    return
                yield tp, message
        await self._read_again(missed)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """Fetch, and keep what comes of it when Faust waits no more: partitions are moving.

        The thread goes on fetching, and aiokafka then stands behind what it brought. At the end of
        a partition nothing would come after it that shows that it is missing.
        """
        fetch = asyncio.ensure_future(super()._getmany(active_partitions, timeout))
        try:
            return await asyncio.shield(fetch)
        except asyncio.CancelledError:
            self._unseen.append(fetch)
            raise

    def _take_unseen(self) -> Iterator[Mapping[TP, list[Any]]]:
        done = [fetch for fetch in self._unseen if fetch.done()]
        self._unseen = [fetch for fetch in self._unseen if not fetch.done()]
        for fetch in done:
            if not fetch.cancelled() and fetch.exception() is None:
                yield fetch.result()

    async def on_stop(self) -> None:
        """Wait for no fetch any more."""
        for fetch in self._unseen:
            fetch.cancel()
        await super().on_stop()

    async def _read_again(self, missed: Mapping[TP, int]) -> None:
        """Move reading back to where it should have begun, or to the oldest record there is.

        If no broker says which that is, what is fetched next begins too late as well.
        """
        again = {tp: due for tp, due in missed.items() if tp in self.assignment()}
        if not again:
            return
        try:
            oldest = await self.earliest_offsets(*again)
            await self.seek_wait({tp: max(due, oldest[tp]) for tp, due in again.items()})
        except (KafkaError, TimeoutError) as error:
            log.info("did not go back: the broker or the partitions are away", error=str(error))

    def _messages(
        self, tp: TP, fetched: list[Any], generation: int, missed: dict[TP, int]
    ) -> Iterator[ConsumerMessage]:
        """The messages to deliver; what of a changelog has to be read first comes to ``missed``.

        What was fetched and not delivered, as partitions were moving, would be a hole in the state:
        the next fetch begins behind it. Of a batch topic the receiver judges by the position.
        """
        if tp.topic not in self.batched:
            for record in fetched:
                yield self._to_message(tp, record)
            return
        for one in fetched:
            due = self._next.get(tp, one.position)
            if one.position > due:
                missed[tp] = due
                return
            # Whether it was read before is the receiver's to judge. Faust goes by offsets that it
            # notes after a delivery, and would drop what is read again after a seek meanwhile.
            self._read_offset[tp] = None
            yield _message(tp, one, generation)
            if self._next.get(tp) == due:  # nobody has moved it while the message was taken
                self._next[tp] = one.end

    async def _give_up(self) -> None:
        """Drop what was fetched, and read it again if it is still ours.

        While the flow is stopped partitions come and go, so the seek may find them gone. Whoever
        has them next seeks anyway.
        """
        try:
            await self.perform_seek()
        except (KafkaError, TimeoutError) as error:
            log.info("did not seek: the partitions are moving", error=str(error))

    def _moved_on(self, generation: int) -> bool:
        return not self.flow_active or self.app.consumer_generation_id != generation

    async def _space_polls(self) -> None:
        wait = self._polled_at + POLL_SPACING_SECONDS - clock.monotonic()
        if wait > 0 and not self.app.in_recovery:
            await asyncio.sleep(wait)
        self._polled_at = clock.monotonic()

    async def perform_seek(self) -> None:
        """Seek to the committed offsets, then to where the state of batch partitions ends.

        A partition whose state is empty is read from its oldest record: an old commit says that
        somebody once held those records, not that anybody still does.
        """
        await super().perform_seek()
        batch_tps = [tp for tp in self.assignment() if tp.topic in self._batch_topics]
        if not batch_tps:
            return
        oldest = await self.earliest_offsets(*batch_tps)
        targets: dict[TP, int] = {}
        for tp in batch_tps:
            known = self._cursor.position(tp)
            if known is not None and known < oldest[tp]:
                log.error("records were deleted before they were read", tp=str(tp), after=known)
            targets[tp] = max(known or 0, oldest[tp])
        await self.seek_wait(targets)
        for tp, target in targets.items():
            self._cursor.reading_from(tp, target)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Make state durable and commit while the partitions are still ours, then let go.

        The stock method forgets what was acknowledged before its own last commit, which replays
        up to a commit interval of records after every rebalance.
        """
        self.stop_flow()
        self.app.flow_control.suspend()
        try:
            await self._cursor.before_revoke()
            await self.commit()
        except AnalyticsError as error:
            # aiokafka would log it and go on: end the worker, and let the next owner read again.
            await self.crash(error)
        self._joining = True
        for tp in revoked:
            self._durable.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Commit again from here on."""
        self._joining = False
        await super().on_partitions_assigned(assigned, generation_id)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a full queue makes the conductor wait, and that is backpressure enough.

        The stock method drops the partition from the fetch set, and when all are dropped the
        consumer sleeps for a whole second.
        """

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's livelock check counts messages, which here are batches."""

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # To the stock ledger every batch of more than one record looks like a hole.
        if tp.topic not in self.batched:
            await super()._add_gap(tp, offset_from, offset_to)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        yield from super()._filter_tps_with_pending_acks(topics)
        for tp in list(self._durable):
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self._joining:
            # On its connection it would wait behind the join, then be refused as of the generation
            # before, and aiokafka would for that leave the generation it has just joined: each
            # rebalance would begin the next one.
            return False
        accepted = await super()._commit(offsets)
        if accepted:
            # Faust leaves out what was revoked while the commit waited, and still reports success.
            assigned = self.assignment()
            for tp, offset in offsets.items():
                if tp.topic in self._batch_topics and tp in assigned:
                    self._cursor.committed(tp, offset)
        return accepted

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self._batch_topics:
            return super()._new_offset(tp)
        durable = self._durable.get(tp)
        return None if durable is None else durable + 1


class BatchTransport(driver.Transport):
    """The aiokafka transport with `BatchConsumer` in place of the stock consumer."""

    Consumer = BatchConsumer

    def __init__(
        self,
        app: AppT,
        *,
        batch_topics: Iterable[str],
        cursor: Cursor,
        changelogs: Iterable[str] = (),
    ) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self.batch_topics = frozenset(batch_topics)
        #: Topics that come in batches too, but from where Faust's recovery of tables seeks to.
        self.changelogs = frozenset(changelogs)
        self.cursor = cursor
        #: Name that the group knows this member by across restarts; None for a new one each time.
        self.member_name: str | None = None


def _message(tp: TP, fetched: Fetched, generation: int) -> ConsumerMessage:
    """A batch as Faust has it: the parts of a record that it has no use for are empty."""
    batch = RecordBatch(tp.partition, fetched.position, fetched.records, generation, fetched.end)
    return ConsumerMessage(
        topic=tp.topic,
        partition=tp.partition,
        offset=batch.end - 1,  # Faust counts by it how far it has read
        timestamp=0.0,
        timestamp_type=0,
        headers=[],
        key=None,
        # Faust types a value as bytes; what an agent gets is whatever the schema returns.
        value=cast(Any, batch),
        checksum=None,
        tp=tp,
        generation_id=generation,
    )


def consumer_of(app: AppT) -> BatchConsumer:
    """The running consumer of an app with a `BatchTransport`."""
    return cast(BatchConsumer, app.consumer)
