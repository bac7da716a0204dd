"""Owns the demo's embedded broker as a test service; must not hide how it differs from Kafka."""

from analytics.demo.broker import EmbeddedBroker, EmbeddedBrokerError


class TansuServer(EmbeddedBroker):
    """The embedded broker in the shape of KafkaServer: start, stop, kill, close, bootstrap.

    Differences a test meets (Tansu 0.6.0, measured): aiokafka's idempotent producer and all
    transactions are refused; the latest offset of a partition counts the last record batch as one
    record; partitions cannot be added; a consumer group's first join waits about three seconds;
    nothing survives a stop.
    """

    def close(self) -> None:
        """End the broker; it keeps no data."""
        self.kill()


__all__ = ["EmbeddedBrokerError", "TansuServer"]
