"""The durable producer over a stand-in for aiokafka's: cutting, order, and what errors become."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    UnknownError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from analytics.errors import TransportError
from analytics.process.pulse import StoodStill
from analytics.testing import MemoryProducer
from analytics.transport import producer as module
from analytics.transport.producer import BATCH_BYTES_MAX, DurableProducer, Outgoing


class Kafka:
    """Takes record batches and records as a broker does; fails on demand."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.batches: list[int] = []
        self.records: list[tuple[str, bytes | None, bytes | None, int | None]] = []
        self.started = self.stopped = 0
        self.errors: list[KafkaError] = []
        self.client = SimpleNamespace(send=self._lose)
        self._message_accumulator = SimpleNamespace(_batch_ttl=arguments["request_timeout_ms"])

    async def _lose(self, *_: object, **__: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    async def start(self) -> None:
        self._fail()
        self.started += 1

    async def stop(self) -> None:
        self.stopped += 1

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self.arguments["max_batch_size"], compression_type=0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> Any:
        self._fail()
        offset = 100 + sum(self.batches)
        self.batches.append(batch.record_count())
        return self._answer(SimpleNamespace(offset=offset))

    async def send(
        self, topic: str, *, value: Any, key: Any, partition: int | None, headers: Any
    ) -> Any:
        self.records.append((topic, key, value, partition))
        assert isinstance(headers, list)
        return self._answer(None)

    def _answer(self, result: object) -> "asyncio.Future[object]":
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self.errors:
            future.set_exception(self.errors.pop(0))
        else:
            future.set_result(result)
        return future

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> list[Kafka]:
    """The clients made so far."""
    made: list[Kafka] = []

    def make(**arguments: Any) -> Kafka:
        client = Kafka(**arguments)
        made.append(client)
        return client

    monkeypatch.setattr(module, "AIOKafkaProducer", make)
    return made


@pytest.fixture
async def producer(kafka: list[Kafka]) -> DurableProducer:
    made = DurableProducer({"bootstrap_servers": ["localhost:9092"], "client_id": "test"})
    await made.start()
    return made


async def test_it_is_idempotent_and_waits_for_all_replicas(
    producer: DurableProducer, kafka: list[Kafka]
) -> None:
    [client] = kafka
    assert client.arguments["enable_idempotence"] is True
    assert client.arguments["acks"] == "all"
    assert client.arguments["client_id"] == "test"


async def test_a_broker_without_idempotence_is_used_without_it(
    kafka: list[Kafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start = Kafka.start

    async def refuse(self: Kafka) -> None:
        if "enable_idempotence" in self.arguments:
            raise UnknownError
        await first_start(self)

    monkeypatch.setattr(Kafka, "start", refuse)
    made = DurableProducer({})
    await made.start()
    assert [("enable_idempotence" in one.arguments, one.started) for one in kafka] == [
        (True, 0),
        (False, 1),
    ]
    assert kafka[0].stopped == 1


async def test_a_broker_that_does_not_answer_is_a_transport_error(
    kafka: list[Kafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Kafka) -> None:
        raise KafkaConnectionError

    monkeypatch.setattr(Kafka, "start", refuse)
    with pytest.raises(TransportError) as raised:
        await DurableProducer({}).start()
    assert raised.value.recoverable
    assert kafka[0].stopped == 1


async def test_entries_go_in_one_batch_and_the_offset_is_that_of_the_last(
    producer: DurableProducer, kafka: list[Kafka]
) -> None:
    assert await producer.append("changelog", 3, [(b"a", b"1"), (b"b", None), (b"c", b"3")]) == 102
    assert kafka[0].batches == [3]


async def test_what_no_batch_can_take_goes_in_several_one_after_the_other(
    producer: DurableProducer, kafka: list[Kafka]
) -> None:
    entries = [(b"%d" % number, bytes(BATCH_BYTES_MAX // 4)) for number in range(10)]
    assert await producer.append("changelog", 0, entries) == 109
    assert sum(kafka[0].batches) == 10
    assert len(kafka[0].batches) == 4


async def test_an_entry_larger_than_a_batch_goes_alone(
    producer: DurableProducer, kafka: list[Kafka]
) -> None:
    entries = [(b"a", b"1"), (b"b", bytes(BATCH_BYTES_MAX + 1)), (b"c", b"3")]
    await producer.append("changelog", 0, entries)
    assert kafka[0].batches == [1, 1, 1]


async def test_an_offset_that_the_broker_has_forgotten_is_not_made_up(
    producer: DurableProducer, kafka: list[Kafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgotten(self: Kafka, *_: Any, **__: Any) -> Any:
        return self._answer(SimpleNamespace(offset=-1))

    monkeypatch.setattr(Kafka, "send_batch", forgotten)
    assert await producer.append("changelog", 0, [(b"a", b"1"), (b"b", b"2")]) == -1


async def test_after_a_batch_that_failed_no_further_one_is_sent(
    producer: DurableProducer, kafka: list[Kafka]
) -> None:
    entries = [(b"%d" % number, bytes(BATCH_BYTES_MAX // 2 + 1)) for number in range(3)]
    kafka[0].errors = [NotEnoughReplicasError()]
    with pytest.raises(TransportError, match="changelog-0 did not take a flush") as raised:
        await producer.append("changelog", 0, entries)
    assert raised.value.recoverable
    assert len(kafka[0].batches) <= 1


@pytest.mark.parametrize(
    ("error", "recoverable"),
    [(NotEnoughReplicasError(), True), (MessageSizeTooLargeError(), False)],
)
async def test_a_record_that_is_not_taken_is_an_error_that_says_whether_to_try_again(
    producer: DurableProducer, kafka: list[Kafka], error: KafkaError, recoverable: bool
) -> None:
    kafka[0].errors = [error]
    with pytest.raises(TransportError, match="did not take 2 records") as raised:
        await producer.send([Outgoing("t", b"1"), Outgoing("t", b"2")])
    assert raised.value.recoverable is recoverable


async def test_nothing_is_sent_that_has_become_forbidden_meanwhile(kafka: list[Kafka]) -> None:
    def forbid() -> None:
        raise StoodStill("this process stood still")

    made = DurableProducer({}, forbid)
    await made.start()
    with pytest.raises(KafkaError, match="stood still") as raised:
        await kafka[0].client.send(0, object())
    assert not raised.value.retriable


async def test_records_keep_their_order_key_partition_and_headers(
    producer: DurableProducer, kafka: list[Kafka]
) -> None:
    await producer.send(
        [
            Outgoing("t", b"1", key=b"k", partition=4, headers=(("reason", b"x"),)),
            Outgoing("t", None),
        ]
    )
    assert kafka[0].records == [("t", b"k", b"1", 4), ("t", None, None, None)]


async def test_before_the_start_and_after_the_stop_it_refuses(kafka: list[Kafka]) -> None:
    made = DurableProducer({})
    with pytest.raises(TransportError, match="not running"):
        await made.send([])
    await made.start()
    await made.stop()
    await made.stop()
    assert kafka[0].stopped == 1
    with pytest.raises(TransportError, match="not running"):
        await made.append("t", 0, [])


async def test_the_fake_answers_with_the_offsets_of_what_it_keeps() -> None:
    fake = MemoryProducer()
    await fake.start()
    assert await fake.append("t", 1, [(b"a", b"1"), (b"b", None)]) == 1
    assert await fake.append("t", 1, [(b"c", b"3")]) == 2
    await fake.send([Outgoing("u", b"x"), Outgoing("t", b"y", partition=1)])
    await fake.send([])
    assert [one.value for one in fake.records["t", 1]] == [b"1", None, b"3", b"y"]
    assert [one.value for one in fake.records["u", 0]] == [b"x"]
    await fake.stop()


async def test_a_connection_lost_under_a_request_is_an_error_that_aiokafka_retries(
    producer: DurableProducer, kafka: list[Kafka]
) -> None:
    """uvloop raises where asyncio would not; aiokafka's sender would end because of it."""
    with pytest.raises(KafkaConnectionError, match="was lost"):
        await kafka[0].client.send(0, object())


async def test_an_answer_has_seconds_and_a_broker_that_is_away_has_minutes(
    producer: DurableProducer, kafka: list[Kafka]
) -> None:
    assert kafka[0].arguments["request_timeout_ms"] == 15_000
    assert kafka[0]._message_accumulator._batch_ttl == 120
