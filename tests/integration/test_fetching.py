"""Owns the proof that what a fetch brings says where it began, on a real Kafka."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from confluent_kafka import Producer

from analytics.transport.fetching import Fetched, fetch_at_once
from tests.services.kafka import KafkaServer
from tests.services.topics import create_topic

pytestmark = pytest.mark.kafka

TP = TopicPartition("read-at-once", 0)
SECONDS_MAX = 20.0


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is replaced for all of the process is put back afterwards."""
    for name in ("MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))
    fetch_at_once({TP.topic})
    yield


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> None:
    create_topic(kafka.bootstrap, TP.topic)


@pytest.fixture
async def consumer(
    kafka: KafkaServer, topic: None, at_once: None
) -> AsyncIterator[AIOKafkaConsumer]:
    made = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await made.start()
    made.assign([TP])
    yield made
    await made.stop()


def send(bootstrap: str, count: int, codec: str = "none") -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec})
    for number in range(count):
        producer.produce(TP.topic, b"%d" % number, partition=TP.partition)
    producer.flush(SECONDS_MAX)


async def read(consumer: AIOKafkaConsumer, until: int) -> list[Fetched]:
    """What comes until an offset was reached."""
    found: list[Fetched] = []
    async with asyncio.timeout(SECONDS_MAX):
        while not found or found[-1].end < until:
            found += (await consumer.getmany(TP, timeout_ms=1_000)).get(TP, [])
    return found


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_record_comes_once_and_one_fetch_begins_where_the_last_one_ended(
    kafka: KafkaServer, consumer: AIOKafkaConsumer, codec: str
) -> None:
    [end] = (await consumer.end_offsets([TP])).values()
    consumer.seek(TP, end)
    send(kafka.bootstrap, 500, codec)
    fetched = await read(consumer, end + 500)
    records = [record for one in fetched for record in one.records]
    assert [record.value for record in records] == [b"%d" % number for number in range(500)]
    assert [one.position for one in fetched] == [end, *(one.end for one in fetched[:-1])]


async def test_a_fetch_that_nobody_saw_shows_in_the_position_of_the_next_one(
    kafka: KafkaServer, consumer: AIOKafkaConsumer
) -> None:
    [end] = (await consumer.end_offsets([TP])).values()
    consumer.seek(TP, end)
    send(kafka.bootstrap, 5)
    await read(consumer, end + 5)  # as by somebody who no longer waits for it
    send(kafka.bootstrap, 3)
    [fetched, *_] = await read(consumer, end + 8)
    assert fetched.position == end + 5
    consumer.seek(TP, end + 2)
    [fetched, *_] = await read(consumer, end + 8)
    assert (fetched.position, fetched.records[0].offset) == (end + 2, end + 2)


async def test_what_was_sent_in_transactions_is_followed_to_its_very_end(
    kafka: KafkaServer, consumer: AIOKafkaConsumer
) -> None:
    """Behind each stands a control record, the last one behind everything."""
    [end] = (await consumer.end_offsets([TP])).values()
    consumer.seek(TP, end)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": "sender"})
    producer.init_transactions(SECONDS_MAX)
    fetched: list[Fetched] = []
    for round_ in range(3):
        producer.begin_transaction()
        for number in range(2):
            producer.produce(TP.topic, b"%d-%d" % (round_, number), partition=TP.partition)
        producer.commit_transaction(SECONDS_MAX)
        fetched += await read(consumer, end + 3 * (round_ + 1))
    values = [record.value for one in fetched for record in one.records]
    assert values == [b"0-0", b"0-1", b"1-0", b"1-1", b"2-0", b"2-1"]
    assert [one.position for one in fetched] == [end, *(one.end for one in fetched[:-1])]
