"""Owns the proof that workers killed in the middle of a load lose and double nothing."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tests.services.flights import FLIGHTS, HOUR_MS, METRICS, all_events, flights, framed
from tests.services.kafka import KafkaServer
from tests.services.loading import ALL_TIME, Load, wait_applied
from tests.services.truth import assert_becomes_right, truth
from tests.services.workers import Deployment, Worker, WorkerFleet
from tests.services.year import year_by_hour, year_in_one

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(240)]

SEED = 20131224
EVENTS_A_RECORD = 50
LOAD_SECONDS = 12.0
KEYS = ["source", "origin"]

#: The group notices a dead worker soon, so that the survivors have to take over from it.
SETTINGS = {"session_timeout": "6s"}


class Sending:
    """Sends events at a steady pace until all are sent; `sent` never lags behind what Kafka has."""

    def __init__(self, deployment: Deployment, events: Sequence[bytes], seconds: float) -> None:
        self._load = Load(deployment, codec="lz4")
        self._events = events
        self._seconds = seconds
        self.sent = 0

    def run(self) -> None:
        """Send it all; returns once everything is acknowledged."""
        began = time.monotonic()
        for value in framed(self._events, EVENTS_A_RECORD):
            due = began + self._seconds * self.sent / len(self._events)
            if (wait := due - time.monotonic()) > 0.02:
                time.sleep(wait)
            self.sent += value.count(b"\n") + 1
            self._load.send([value])
        self._load.flush()


class Watching:
    """Asks the workers for the counts of every carrier all the time, and holds them to the truth.

    A reader may see less than was sent, and nothing while a metric moves, but never too much.
    """

    def __init__(self, workers: Sequence[Worker], sending: Sending, sent: pl.DataFrame) -> None:
        self._workers = workers
        self._sending = sending
        self._carriers, self._upto = _departures_upto(sent)
        self._ended = threading.Event()
        self.answers = 0
        self.excesses: list[str] = []

    def run(self) -> None:
        """Ask until the end is told."""
        question = {
            "metrics": ["departures"],
            "aggregations": ["count"],
            "groupBy": ["source"],
            "timeRange": ALL_TIME,
        }
        while not self._ended.wait(0.05):
            for worker in self._workers:
                rows = worker.asking.rows_or_none(question)
                if rows is None:
                    continue
                self.answers += bool(rows)
                # Read after the answer: what was sent by now is all that it may hold.
                most = self._upto[self._sending.sent]
                for _, carrier, count in rows:
                    if count > most[self._carriers.index(carrier)]:
                        self.excesses.append(f"{worker.name}: {carrier} {count}")

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()


def test_three_workers_of_which_one_after_another_is_killed(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed alone and in pairs, restarted at once or after the others have taken over."""
    directory = tmp_path_factory.mktemp("sigkill-of-three")
    deployment = Deployment(directory, kafka.bootstrap, METRICS, SETTINGS)
    chance = random.Random(SEED)
    with deployment.running(3) as fleet, under_load(deployment, fleet, FLIGHTS) as sending:
        for victims, pause in ((1, 0.0), (2, 0.0), (1, 7.0)):
            time.sleep(chance.uniform(0.5, 2.5))
            assert sending.running(), "the load was over before the last kill"
            _kill(chance.sample(fleet.workers, victims), pause)


def test_a_single_worker_killed_again_and_again(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nobody else can take over, and once it dies while it is still recovering."""
    directory = tmp_path_factory.mktemp("sigkill-of-one")
    deployment = Deployment(directory, kafka.bootstrap, METRICS, SETTINGS)
    chance = random.Random(SEED)
    with deployment.running(1) as fleet, under_load(deployment, fleet, 100_000) as sending:
        for recovered in (True, False, True):
            time.sleep(chance.uniform(0.5, 2.5))
            assert sending.running(), "the load was over before the last kill"
            _kill(fleet.workers, 0.0)
            if recovered:
                fleet[0].wait_ready()


@contextmanager
def under_load(deployment: Deployment, fleet: WorkerFleet, events: int) -> Iterator["Future[None]"]:
    """Send so many events while the body runs, watch what the workers answer, then compare."""
    sending = Sending(deployment, all_events()[:events], LOAD_SECONDS)
    watching = Watching(fleet.workers, sending, flights().head(events))
    with ThreadPoolExecutor(2) as threads:
        sent, watched = threads.submit(sending.run), threads.submit(watching.run)
        try:
            yield sent
            sent.result()
            fleet.wait_ready()
            wait_applied(deployment, fleet)
            _assert_exact(fleet, flights().head(events))
        finally:
            watching.end()
        watched.result()
    assert watching.excesses == []
    assert watching.answers > 10


def _kill(victims: Sequence[Worker], pause_seconds: float) -> None:
    for worker in victims:
        worker.kill()
    time.sleep(pause_seconds)
    for worker in victims:
        worker.start()


def _assert_exact(fleet: WorkerFleet, sent: pl.DataFrame) -> None:
    asking = fleet[0].asking
    assert_becomes_right(
        lambda: year_by_hour(asking, KEYS), truth(sent, KEYS, step_ms=HOUR_MS), KEYS
    )
    assert_becomes_right(lambda: year_in_one(asking, []), truth(sent, [], step_ms=None), [])


def _departures_upto(sent: pl.DataFrame) -> tuple[list[str], NDArray[np.int64]]:
    """The carriers, and for every number of events sent how many departures each then has."""
    carriers = sorted(sent["source"].unique())
    departed = (sent["type"] == "departure").to_numpy()
    upto = np.zeros((len(sent) + 1, len(carriers)), np.int64)
    for place, carrier in enumerate(carriers):
        upto[1:, place] = np.cumsum((sent["source"] == carrier).to_numpy() & departed)
    return carriers, upto
