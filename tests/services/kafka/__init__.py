"""Owns a real single-node Kafka for tests; must not know what a test does with it."""

from tests.services.kafka.jars import KafkaUnavailable
from tests.services.kafka.server import KafkaServer

__all__ = ["KafkaServer", "KafkaUnavailable"]
