"""Owns the proof that a producer which must no longer write does not, whatever waits in it."""

import asyncio

import pytest
from confluent_kafka import Consumer, TopicPartition

from analytics.errors import TransportError
from analytics.process.pulse import StoodStill
from analytics.settings import Settings
from analytics.transport.access import client_options
from analytics.transport.producer import DurableProducer
from tests.services.kafka import KafkaServer
from tests.services.topics import create_topic

TOPIC = "written-by-who-may"
ENTRIES = [(b"key", b"value")] * 3


@pytest.mark.kafka
async def test_what_waits_in_it_when_it_becomes_forbidden_is_refused_for_good(
    kafka: KafkaServer,
) -> None:
    create_topic(kafka.bootstrap, TOPIC)
    forbidden = False

    def may_send() -> None:
        if forbidden:
            raise StoodStill("this process stood still")

    options = client_options(Settings(broker=(kafka.bootstrap,)), "fenced")
    producer = DurableProducer(options, may_send)
    await producer.start()
    try:
        last = await producer.append(TOPIC, 0, ENTRIES)
        appending = asyncio.ensure_future(producer.append(TOPIC, 0, ENTRIES))
        await asyncio.sleep(0)  # handed over, not sent
        forbidden = True
        with pytest.raises(TransportError, match="stood still") as raised:
            await asyncio.wait_for(appending, 10)
        assert not raised.value.recoverable
    finally:
        await producer.stop()
    assert _end(kafka.bootstrap) == last + 1 == len(ENTRIES)


def _end(bootstrap: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reading"})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=10)
        return int(end)
    finally:
        consumer.close()
