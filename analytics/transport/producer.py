"""The producer of everything that must not be lost: acknowledged by all replicas, never doubled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownError

from analytics.errors import AnalyticsError, TransportError
from analytics.transport.topic_ids import topic_ids

log = structlog.get_logger(__name__)

#: Largest record batch; Kafka's default limit for a topic is slightly above 1 MB.
BATCH_BYTES_MAX = 900_000

REQUEST_BYTES_MAX = 1 << 20
#: An answer that takes longer will not come: the connection has died without a word.
ANSWER_MS_MAX = 15_000
#: How long records wait for a broker that is away; then the worker had better say so and end.
DELIVERY_MS_MAX = 120_000


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to send; ``partition`` None leaves the choice to the key's hash."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def _nothing_forbids() -> None:
    pass


async def start_producer(
    arguments: Mapping[str, Any], may_send: Callable[[], None] = _nothing_forbids
) -> AIOKafkaProducer:
    """A connected idempotent producer. Raises TransportError when no broker answers.

    ``may_send`` is asked before every request, and raises an AnalyticsError to forbid it.

    The embedded broker of the demo hands out producer ids to transactions only, and calls the
    request an unknown error; there the producer starts without, and says so.
    """
    try:
        return await _connected({**arguments, "enable_idempotence": True}, may_send)
    except UnknownError:
        log.warning("the broker knows no idempotent producers: a retry may store a record twice")
    except KafkaError as error:
        raise _unreachable(error) from error
    try:
        return await _connected(arguments, may_send)
    except KafkaError as error:
        raise _unreachable(error) from error


async def _connected(
    arguments: Mapping[str, Any], may_send: Callable[[], None]
) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(**arguments)
    _lose_connections_as_asyncio_does(producer.client)
    _ask_before_each_request(producer.client, may_send)
    try:
        await producer.start()
    except KafkaError:
        await producer.stop()
        raise
    return producer


def _lose_connections_as_asyncio_does(client: Any) -> None:
    """Make writing to a connection that was just lost an error that aiokafka retries.

    uvloop refuses to write to it. asyncio takes the bytes until the loss is noticed, and aiokafka
    knows nothing else: its sender would end, and every send after that fail.
    """
    send = client.send

    async def send_or_lose(*arguments: Any, **options: Any) -> Any:
        try:
            return await send(*arguments, **options)
        except RuntimeError as error:
            raise KafkaConnectionError(f"the connection was lost: {error}") from error

    client.send = send_or_lose


def _ask_before_each_request(client: Any, may_send: Callable[[], None]) -> None:
    """Because what is handed to aiokafka waits there, and may wait for a process that is paused."""
    send = client.send

    async def ask_and_send(*arguments: Any, **options: Any) -> Any:
        try:
            may_send()
        except AnalyticsError as error:
            # An error that is not retriable: aiokafka fails what it was about to send.
            raise KafkaError(str(error)) from error
        return await send(*arguments, **options)

    client.send = ask_and_send


def _unreachable(error: KafkaError) -> TransportError:
    return TransportError(f"cannot reach Kafka: {error}", recoverable=True)


class DurableProducer:
    """Awaits the acknowledgement of everything it sends; raises TransportError when there is none.

    Retries are aiokafka's, bounded by `DELIVERY_MS_MAX`. Sends to one partition keep their
    order. Not usable before `start`.
    """

    def __init__(
        self, options: Mapping[str, Any], may_send: Callable[[], None] = _nothing_forbids
    ) -> None:
        """`options` are what `analytics.transport.access.client_options` returns.

        ``may_send`` is asked before every request, and raises an AnalyticsError to forbid it.
        """
        self._may_send = may_send
        self._arguments = {
            "acks": "all",
            "max_batch_size": BATCH_BYTES_MAX,
            "max_request_size": REQUEST_BYTES_MAX,
            "request_timeout_ms": ANSWER_MS_MAX,
            **options,
        }
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect; raises TransportError when no broker answers."""
        producer = await start_producer(self._arguments, self._may_send)
        # aiokafka has one limit for an answer and for all the time that records wait.
        producer._request_timeout_ms = DELIVERY_MS_MAX
        producer._message_accumulator._batch_ttl = DELIVERY_MS_MAX / 1000
        self._producer = producer

    async def stop(self) -> None:
        """Send what is queued and disconnect."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()

    async def topic_id(self, topic: str) -> bytes | None:
        """The id of a topic, `NO_ID` where brokers know none; None when there is no such topic.

        Raises TransportError when no broker answers.
        """
        try:
            return (await topic_ids(self._started().client, [topic])).get(topic)
        except KafkaError as error:
            message = f"no broker tells the id of {topic}: {error}"
            raise TransportError(message, recoverable=True) from error

    async def append(
        self, topic: str, partition: int, entries: Sequence[tuple[bytes, bytes | None]]
    ) -> int:
        """Append ``entries`` in order, in as few record batches as fit; offset of the last one.

        -1 when the broker has them but no longer knows where, after a retry that came too late.
        A record batch is stored whole or not at all. Batches follow one another: when the second
        is sent the first is durable.
        """
        producer = self._started()
        offset = -1
        waiting = list(entries)
        try:
            while waiting:
                builder = producer.create_batch()
                taken = 0
                for key, value in waiting:
                    if builder.append(timestamp=None, key=key, value=value) is None:
                        break
                    taken += 1
                future = await producer.send_batch(builder, topic, partition=partition)
                metadata = await future
                offset = -1 if metadata.offset < 0 else metadata.offset + taken - 1
                del waiting[:taken]
        except KafkaError as error:
            message = f"{topic}-{partition} did not take a flush: {error}"
            raise TransportError(message, recoverable=error.retriable) from error
        return offset

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Send ``records`` and await them all."""
        producer = self._started()
        try:
            pending = [
                await producer.send(
                    one.topic,
                    value=one.value,
                    key=one.key,
                    partition=one.partition,
                    headers=list(one.headers),
                )
                for one in records
            ]
            for future in pending:
                await future
        except KafkaError as error:
            message = f"Kafka did not take {len(records)} records: {error}"
            raise TransportError(message, recoverable=error.retriable) from error

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise TransportError("the producer is not running", recoverable=False)
        return self._producer
