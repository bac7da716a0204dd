"""Owns the fixtures of the agents' tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.agents.workers import Kafka, Worker

StartWorker = Callable[[str], Worker]


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def start(kafka: Kafka, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker on the disk of that name; the one that had the disk before is gone."""
    running: dict[str, Worker] = {}

    def begin(disk: str = "disk") -> Worker:
        if disk in running:
            running[disk].close()
        running[disk] = Worker(kafka, tmp_path / disk)
        return running[disk]

    yield begin
    for worker in running.values():
        worker.close()
