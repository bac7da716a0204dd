"""Owns the proof that the test Kafka speaks to every client we use; must not test the product."""

import asyncio
import subprocess

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer

from tests.conftest import MakeTopic
from tests.services.environment import require_program
from tests.services.kafka import KafkaServer
from tests.services.topics import create_topic

pytestmark = pytest.mark.kafka

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
RECORDS = 100
READ_SECONDS_MAX = 15.0


def produce(bootstrap: str, topic: str, *, codec: str) -> list[bytes]:
    """Send compressible records with an idempotent producer; return the values."""
    values = [f"{codec}-{number:04}-".encode() * 20 for number in range(RECORDS)]
    failures: list[object] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "enable.idempotence": True,
            "linger.ms": 50,
        }
    )
    for value in values:
        producer.produce(
            topic,
            value,
            key=b"key",
            headers=[("codec", codec.encode())],
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    unsent = producer.flush(READ_SECONDS_MAX)
    assert (unsent, failures) == (0, [])
    return values


async def read(bootstrap: str, topic: str, count: int) -> list[tuple[bytes | None, str]]:
    """Read `count` records of partition 0 with aiokafka, as value and codec header."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(READ_SECONDS_MAX):
            records = [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()
    return [(record.value, dict(record.headers)["codec"].decode()) for record in records]


@pytest.mark.parametrize("codec", CODECS)
async def test_aiokafka_reads_what_librdkafka_wrote_in_every_codec(
    kafka: KafkaServer, make_topic: MakeTopic, codec: str
) -> None:
    topic = make_topic(codec)
    values = await asyncio.to_thread(produce, kafka.bootstrap, topic, codec=codec)

    records = await read(kafka.bootstrap, topic, RECORDS)

    assert records == [(value, codec) for value in values]


@pytest.mark.parametrize("codec", CODECS)
def test_kcat_reads_what_librdkafka_wrote_in_every_codec(
    kafka: KafkaServer, make_topic: MakeTopic, codec: str
) -> None:
    kcat = require_program("kcat")
    topic = make_topic(codec)
    values = produce(kafka.bootstrap, topic, codec=codec)

    command = [kcat, "-C", "-q", "-e", "-b", kafka.bootstrap, "-t", topic, "-o", "beginning"]
    run = subprocess.run(command, capture_output=True, timeout=READ_SECONDS_MAX, check=True)

    assert run.stdout.splitlines() == values


@pytest.mark.usefixtures("kafka_programs")
def test_a_killed_broker_comes_back_with_its_acknowledged_records() -> None:
    with KafkaServer() as server:
        topic = create_topic(server.bootstrap, "durable")
        values = produce(server.bootstrap, topic, codec="zstd")
        address = server.bootstrap

        server.kill()
        server.start()

        assert server.bootstrap == address
        assert asyncio.run(read(address, topic, RECORDS)) == [(value, "zstd") for value in values]
