"""Owns looking at who is in the workers' group and owns what; it starts and ends nobody."""

import struct
import time
from collections.abc import Iterable, Sequence
from typing import Final

from confluent_kafka.admin import AdminClient

from tests.services.loading import records_of
from tests.services.workers import PARTITIONS, Deployment, Worker

#: What a worker says when it becomes the owner of a partition.
TOOK_OVER: Final = ("took over a source partition", "took over a partition of metrics")
SHARES: Final = ("source_partitions", "metric_partitions")

#: Where the coordinator keeps what it knows of groups, so that it survives the broker.
OFFSETS_TOPIC: Final = "__consumer_offsets"
#: The version of a key that stands for a group, and how a text and the generation are written.
GROUP_KEY: Final = 2
_LENGTHS = struct.Struct(">hh")
_GENERATION = struct.Struct(">i")

ADMIN_SECONDS_MAX: Final = 15.0
POLL_SECONDS: Final = 0.1


def generation(deployment: Deployment) -> int:
    """The generation of the workers' group, as its coordinator has stored it last.

    Each rebalance begins another one. No tool tells it: a member is told when it joins, and asking
    for it would be to join.
    """
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    metadata = admin.list_topics(OFFSETS_TOPIC, timeout=ADMIN_SECONDS_MAX)
    partitions = len(metadata.topics[OFFSETS_TOPIC].partitions)
    group = deployment.topics.group.encode()
    key = _LENGTHS.pack(GROUP_KEY, len(group)) + group
    records = records_of(deployment.bootstrap, OFFSETS_TOPIC, partitions)
    found = [value for one in records if one.key() == key and (value := one.value())]
    assert found, f"Kafka knows no group {deployment.topics.group}"
    _, protocol_length = _LENGTHS.unpack_from(found[-1])
    number: int = _GENERATION.unpack_from(found[-1], _LENGTHS.size + protocol_length)[0]
    return number


def took_over(workers: Iterable[Worker]) -> int:
    """How often these have become the owner of a partition."""
    return sum(len(worker.told(event)) for worker in workers for event in TOOK_OVER)


def share(worker: Worker) -> tuple[list[int], list[int]]:
    """The partitions of both phases that a worker owns, by its own account; it must answer."""
    document = worker.asking.readiness().document
    sources, metrics = (list(document[key]) for key in SHARES)
    return sources, metrics


def wait_owned(workers: Sequence[Worker], seconds_max: float) -> None:
    """Block until these are ready and own every partition between them; AssertionError beyond."""
    every = list(range(PARTITIONS))
    deadline = time.monotonic() + seconds_max
    while True:
        found = [worker.asking.readiness() for worker in workers]
        owned = [
            sorted(number for one in found for number in one.document.get(key, ()))
            for key in SHARES
        ]
        if all(one.status == 200 for one in found) and owned == [every, every]:
            return
        assert time.monotonic() < deadline, f"nobody took over: {found}"
        time.sleep(POLL_SECONDS)
