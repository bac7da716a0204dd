"""Owns making topics in tests; must not be used by product code, which has `analytics topics`."""

from collections.abc import Mapping

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

ADMIN_SECONDS_MAX = 15.0


def create_topic(
    bootstrap: str, name: str, *, partitions: int = 1, config: Mapping[str, str] | None = None
) -> str:
    """Create a topic and return its name once the broker has confirmed; raise when it exists."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topic = NewTopic(name, partitions, 1, config=dict(config or {}))
    for created in admin.create_topics([topic], operation_timeout=ADMIN_SECONDS_MAX).values():
        created.result(ADMIN_SECONDS_MAX)
    return name
