"""Real-time metrics over Kafka: the composition root, and the rooms it is built from."""

__version__ = "0.1.0"
