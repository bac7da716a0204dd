"""Owns the proof that workers killed in the middle of a load lose and double nothing."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tests.services.flights import DAILY_METRICS, DAY_MS, events_of, shuffled
from tests.services.kafka import KafkaServer
from tests.services.loading import ALL_TIME, PacedLoad, wait_applied
from tests.services.truth import assert_becomes_right, truth
from tests.services.workers import Deployment, Worker, WorkerFleet
from tests.services.year import year_by, year_in_one

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(240)]

SEED = 20131224
#: Longer than all kills together; the rest is sent at once after the last.
LOAD_SECONDS = 60.0
KEYS = ["source", "origin"]

#: The group notices a dead worker soon, so that the survivors have to take over from it.
SETTINGS = {"session_timeout": "3s"}


class Watching:
    """Asks the workers for the counts of every carrier all the time, and holds them to the truth.

    A reader may see less than was sent, and nothing while a metric moves, but never too much.
    """

    def __init__(self, workers: Sequence[Worker], sending: PacedLoad, sent: pl.DataFrame) -> None:
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
    deployment = Deployment(directory, kafka.bootstrap, DAILY_METRICS, SETTINGS)
    chance = random.Random(SEED)
    with deployment.running(3) as fleet, under_load(deployment, fleet, 120_000):
        for victims, pause in ((1, 0.0), (2, 0.0), (1, 4.0)):
            time.sleep(chance.uniform(0.5, 2.5))
            _kill(chance.sample(fleet.workers, victims), pause)


def test_a_single_worker_killed_again_and_again(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nobody else can take over, and once it dies while it is still recovering."""
    directory = tmp_path_factory.mktemp("sigkill-of-one")
    deployment = Deployment(directory, kafka.bootstrap, DAILY_METRICS, SETTINGS)
    chance = random.Random(SEED)
    with deployment.running(1) as fleet, under_load(deployment, fleet, 60_000):
        for recovered in (True, False, True):
            time.sleep(chance.uniform(0.5, 2.5))
            _kill(fleet.workers, 0.0)
            if recovered:
                fleet[0].wait_ready()


@contextmanager
def under_load(deployment: Deployment, fleet: WorkerFleet, events: int) -> Iterator[None]:
    """Send so many events while the body runs, watch what the workers answer, then compare.

    Half of them are folded before it begins: phase 1 has then closed windows for good that only
    phase 2 still holds, and both have something to lose.
    """
    flights = shuffled(events)
    sending = PacedLoad(deployment, events_of(flights), LOAD_SECONDS)
    sending.send_at_once(events // 2)
    wait_applied(deployment, fleet)
    watching = Watching(fleet.workers, sending, flights)
    with ThreadPoolExecutor(2) as threads:
        sent, watched = threads.submit(sending.run), threads.submit(watching.run)
        try:
            yield
            assert sent.running(), "the load was over before the last kill"
            sending.hurry()
            sent.result()
            fleet.wait_ready()
            wait_applied(deployment, fleet)
            _assert_exact(fleet, flights)
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
        lambda: year_by("1d", asking, KEYS), truth(sent, KEYS, step_ms=DAY_MS), KEYS
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
