"""Owns the proof that a topic made anew is told from the one before, by every broker we run on."""

from collections.abc import AsyncIterator

import pytest
from confluent_kafka.admin import AdminClient

from analytics.settings import Settings
from analytics.transport.access import client_options
from analytics.transport.producer import DurableProducer
from analytics.transport.topic_ids import NO_ID
from tests.services.kafka import KafkaServer
from tests.services.tansu import TansuServer
from tests.services.topics import ADMIN_SECONDS_MAX, create_topic

TOPIC = "known-by-its-id"


@pytest.fixture
async def producer(kafka: KafkaServer) -> AsyncIterator[DurableProducer]:
    made = DurableProducer(client_options(Settings(broker=(kafka.bootstrap,)), "ids"))
    await made.start()
    yield made
    await made.stop()


@pytest.mark.kafka
async def test_a_topic_that_is_made_anew_has_another_id(
    kafka: KafkaServer, producer: DurableProducer
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert await producer.topic_id(TOPIC) is None
    ids = set()
    for _ in range(2):
        create_topic(kafka.bootstrap, TOPIC)
        while not (found := await producer.topic_id(TOPIC)):
            pass
        assert found == await producer.topic_id(TOPIC)
        ids.add(found)
        admin.delete_topics([TOPIC])[TOPIC].result(ADMIN_SECONDS_MAX)
        while await producer.topic_id(TOPIC):
            pass
    assert len(ids - {NO_ID}) == 2


async def test_the_embedded_broker_has_an_answer_too() -> None:
    with TansuServer() as server:
        made = DurableProducer(client_options(Settings(broker=(server.bootstrap,)), "ids"))
        await made.start()
        try:
            assert await made.topic_id("no-such-topic") in (None, NO_ID)
        finally:
            await made.stop()
