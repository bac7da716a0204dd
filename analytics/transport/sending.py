"""Owns sending a stream of NDJSON to Kafka; must not read a file or show progress."""

import asyncio
from asyncio import Future
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    UnknownTopicOrPartitionError,
)

from analytics import clock
from analytics.errors import TransportError
from analytics.settings import Settings
from analytics.transport.access import client_options
from analytics.transport.framing import RECORD_BYTES_MAX, Frame, Framer
from analytics.transport.producer import start_producer

#: Records that may wait for their acknowledgement; at the most 28 MB are in memory for them.
IN_FLIGHT_MAX = 32
#: A paced stream is cut into at least so many frames a second, so that it flows and does not pulse.
PACED_FRAMES_PER_SECOND = 20
REQUEST_TIMEOUT_MS = 30_000
#: A frame of the usual size is a batch of its own: what is refused takes no other with it.
BATCH_BYTES_MAX = 64 << 10
METADATA_SECONDS_MAX = 5.0
#: The client retries for ever, so that nothing is stored twice; we do not wait for ever.
STALL_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 5.0
NOTED_REFUSALS_MAX = 10

# The broker will never take this record. Nor any after it: the client counts the refused one in
# its sequence, so that the next seems to come too early.
REFUSALS = (MessageSizeTooLargeError, PolicyViolationError)


@dataclass(frozen=True, slots=True)
class Sending:
    """What to do with a stream: `rate` None means as fast as Kafka takes it, in events/s else."""

    topic: str
    frame_lines: int = 500
    rate: float | None = None
    compression: str | None = None


@dataclass(slots=True)
class Tally:
    """What has become of the lines so far; `refusals` says why for the first few rejected ones."""

    read_bytes: int = 0
    read: int = 0
    acknowledged: int = 0
    rejected: int = 0
    records: int = 0
    refusals: list[str] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Lines read that were neither acknowledged nor rejected."""
        return self.read - self.acknowledged - self.rejected

    def reject(self, lines: int, reason: str) -> None:
        """Count `lines` as rejected."""
        self.rejected += lines
        if len(self.refusals) < NOTED_REFUSALS_MAX:
            self.refusals.append(reason)


async def send(
    settings: Settings,
    blocks: AsyncIterator[bytes],
    sending: Sending,
    tally: Tally,
    stop: asyncio.Event,
) -> None:
    """Send the lines of `blocks` and wait until all are acknowledged, keeping `tally` up to date.

    An empty block means that the source pauses. Once `stop` is set no more lines are sent, and the
    end only waits for those under way. Raises TransportError when Kafka cannot be reached or stops
    taking records; the tally then says what is safe.
    """
    options = {"compression_type": sending.compression}
    async with open_producer(settings, "analytics-send", **options) as producer:
        partitions = await partitions_of(producer, sending.topic)
        outbox = _Outbox(producer, sending, partitions, tally, stop)
        framer = Framer(_frame_lines(sending))
        async for block in blocks:
            tally.read_bytes += len(block)
            await outbox.post(framer.feed(block) if block else framer.flush())
            _reject_oversized(framer, tally)
        await outbox.post(framer.finish())
        _reject_oversized(framer, tally)
        await outbox.drain()


def _frame_lines(sending: Sending) -> int:
    if sending.rate is None:
        return sending.frame_lines
    return max(1, min(sending.frame_lines, int(sending.rate / PACED_FRAMES_PER_SECOND)))


def _reject_oversized(framer: Framer, tally: Tally) -> None:
    for line in framer.oversized:
        tally.read += 1
        tally.reject(1, str(line))
    framer.oversized.clear()


class _Outbox:
    """Posts frames to the partitions in turn, a bounded number of them unacknowledged."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        sending: Sending,
        partitions: Iterable[int],
        tally: Tally,
        stop: asyncio.Event,
    ) -> None:
        self._stop = stop
        self._producer = producer
        self._sending = sending
        self._partitions = cycle(partitions)
        self._tally = tally
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._failure: BaseException | None = None
        self._began = clock.monotonic()
        self._posted = 0

    async def post(self, frames: Iterator[Frame]) -> None:
        """Hand frames over, waiting while too many are under way or the rate is ahead."""
        for frame in frames:
            self._tally.read += frame.lines
            await self._keep_pace(frame)
            if self._stop.is_set():
                continue  # read, and counted as missing
            await self._make_room()
            try:
                sent = self._producer.send(
                    self._sending.topic, frame.value, partition=next(self._partitions)
                )
                settled = await asyncio.wait_for(sent, STALL_SECONDS_MAX)
            except (KafkaError, TimeoutError) as error:
                raise _failed(error) from error
            settled.add_done_callback(partial(self._settle, frame))

    async def drain(self) -> None:
        """Wait until everything under way is settled."""
        for _ in range(IN_FLIGHT_MAX):
            await self._make_room()

    async def _make_room(self) -> None:
        """Wait until a record settles where too many are under way."""
        try:
            await asyncio.wait_for(self._room.acquire(), STALL_SECONDS_MAX)
        except TimeoutError as error:
            raise _failed(error) from error
        if self._failure is not None:
            raise _failed(self._failure) from self._failure

    async def _keep_pace(self, frame: Frame) -> None:
        if self._sending.rate is not None:
            due = self._began + self._posted / self._sending.rate
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, due - clock.monotonic()))
            self._posted += frame.lines

    def _settle(self, frame: Frame, settled: Future[Any]) -> None:
        self._room.release()
        if settled.cancelled():
            return
        error = settled.exception()
        if error is None:
            self._tally.acknowledged += frame.lines
            self._tally.records += 1
        else:
            self._failure = self._failure or error
            if isinstance(error, REFUSALS):
                self._tally.reject(frame.lines, f"{frame.lines} lines in a record: {error}")


def _failed(error: BaseException) -> TransportError:
    if isinstance(error, TimeoutError):
        message = f"Kafka has not acknowledged anything for {STALL_SECONDS_MAX:g} s"
        return TransportError(message, recoverable=True)
    if isinstance(error, REFUSALS):
        message = "the topic takes no record of this size: send fewer lines in one"
        return TransportError(message, recoverable=False)
    recoverable = isinstance(error, KafkaError) and bool(error.retriable)
    return TransportError(f"Kafka no longer takes records: {error}", recoverable=recoverable)


@asynccontextmanager
async def open_producer(
    settings: Settings, client_id: str, **options: Any
) -> AsyncIterator[AIOKafkaProducer]:
    """A producer whose records are acknowledged by all replicas and stored once, until the end.

    Raises TransportError when no broker answers. The end waits for what is under way, but not for
    ever.
    """
    arguments = client_options(settings, client_id) | {
        "acks": "all",
        "max_batch_size": BATCH_BYTES_MAX,
        "max_request_size": RECORD_BYTES_MAX + 100_000,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        **options,
    }
    producer = await start_producer(arguments)
    try:
        yield producer
    finally:
        try:
            await asyncio.wait_for(producer.stop(), STOP_SECONDS_MAX)
        except TimeoutError:
            await producer.client.close()


async def partitions_of(producer: AIOKafkaProducer, topic: str) -> list[int]:
    """The partitions of a topic in order. Raises TransportError when there is no such topic."""
    try:
        # The client keeps looking for a topic that may be new.
        known = await asyncio.wait_for(producer.partitions_for(topic), METADATA_SECONDS_MAX)
        return sorted(known)
    except (UnknownTopicOrPartitionError, TimeoutError) as error:
        message = f"there is no topic {topic!r}: create it with `analytics topics create`"
        raise TransportError(message, recoverable=False) from error
    except KafkaError as error:
        raise TransportError(f"cannot reach Kafka: {error}", recoverable=True) from error
