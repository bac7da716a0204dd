"""Owns the fixtures of the agents' tests."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analytics.settings import Settings
from tests.unit.agents.workers import SETTINGS, Kafka, Worker

StartWorker = Callable[[str], Worker]


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def start(kafka: Kafka, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker on the disk of that name; the one that had the disk before is gone."""
    yield from _starting(kafka, tmp_path, SETTINGS)


@pytest.fixture
def remembering(kafka: Kafka, tmp_path: Path) -> Iterator[StartWorker]:
    """The same, and the worker drops duplicates."""
    yield from _starting(kafka, tmp_path, replace(SETTINGS, dedup_ids=10))


def _starting(kafka: Kafka, disks: Path, settings: Settings) -> Iterator[StartWorker]:
    running: dict[str, Worker] = {}

    def begin(disk: str = "disk") -> Worker:
        if disk in running:
            running[disk].close()
        running[disk] = Worker(kafka, disks / disk, settings=settings)
        return running[disk]

    yield begin
    for worker in running.values():
        worker.close()
