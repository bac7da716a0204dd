"""Owns what is read from Kafka itself: dead letters, and records that were not confirmed."""

from collections.abc import Collection, Iterator, Sequence

from confluent_kafka import Message

from tests.services.loading import records_of
from tests.services.oracle.events import EventStream
from tests.services.oracle.expected import Letter
from tests.services.oracle.ledger import Ledger
from tests.services.workers import PARTITIONS, Deployment


def dead_letters(deployment: Deployment) -> set[Letter]:
    """What every dead letter says of its line."""
    topic = deployment.topics.dead_letters
    return {letter_of(message) for message in records_of(deployment.bootstrap, topic)}


def letter_of(message: Message) -> Letter:
    """What one dead letter says."""
    headers = dict(_headers(message))
    partition, offset, line = (int(headers[name]) for name in ("partition", "offset", "line"))
    return Letter(partition, offset, line, headers["reason"])


def find_failed(
    deployment: Deployment, stream: EventStream, failed: Collection[int], ledger: Ledger
) -> None:
    """Add records whose delivery failed to the ledger, as far as they are on Kafka even so."""
    if not failed:
        return
    for message in records_of(deployment.bootstrap, deployment.topics.events, PARTITIONS):
        value, partition, offset = message.value(), message.partition(), message.offset()
        assert value is not None and partition is not None and offset is not None
        if (record := stream.record_of(value)) in failed:
            ledger.write(record, partition, offset)


def _headers(message: Message) -> Iterator[tuple[str, str]]:
    headers: Sequence[tuple[str, bytes | str | None]] = message.headers() or ()  # type: ignore[assignment]  # its type leaves the list open
    for name, value in headers:
        yield name, value.decode() if isinstance(value, bytes) else str(value)
