"""Owns the proof that a process may die at any named point, again and again, and nothing is lost.

Every worker is armed for a point, dies there, and is started again armed for the next one, so that
each death also is the recovery from another. The workers do not wait for one another: takeovers,
claims and revocations of one fall into the flushes of the others.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import kill

import pytest

from analytics.process.crash import POINTS
from tests.faults.conftest import Repeats
from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Mix, Run, proven
from tests.services.workers import Deployment, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(3_000)]

SEED = 20131224
RATE = 1_500
#: Visits of a point are of one partition each; the crash falls on one of the first few.
VISITS_MAX = 4
#: Points that are passed when partitions go: a worker that is ready for so long is asked to stop.
ON_LEAVING = frozenset(point for point in POINTS if point.endswith(("revoking", "revoked")))
PATIENCE_SECONDS = 2.0
#: After so many times all is judged, and begun anew: what is kept of windows only grows, and who
#: dies every few seconds should not spend them on reading it.
TIMES_A_RUN = 5
#: A worker that has no part in what a point is about (it merges no metric) leaves it to another.
READY_SECONDS_MAX = 20.0
LIVED_SECONDS_MAX = 90.0
REACHED = "crash point reached"
FRESH_SECONDS_MAX = 60.0
#: Without dead letters there is no crash after writing them.
MIX = Mix(poison=0.002)


@dataclass
class Armed:
    """A worker on its way to a point."""

    worker: Worker
    point: str | None = None
    since: float = 0.0
    ready_since: float | None = None
    asked_to_stop: bool = False
    reached_before: int = 0

    def go(self, point: str | None, visit: int) -> None:
        """Start the worker, armed for ``point`` or for nothing."""
        self.point, self.since, self.asked_to_stop = point, time.monotonic(), False
        self.ready_since = None
        self.reached_before = len(self.worker.told(REACHED))
        self.worker.start(None if point is None else f"{point}:{visit}")

    def ready_seconds(self) -> float:
        """For how long the worker has been ready."""
        if self.ready_since is None and self.worker.asking.readiness().status == 200:
            self.ready_since = time.monotonic()
        return 0.0 if self.ready_since is None else time.monotonic() - self.ready_since

    def died_there(self) -> bool:
        """Whether the process ended itself at the point, and said so."""
        told = self.worker.told(REACHED)[self.reached_before :]
        killed = self.worker.exit_code == -signal.SIGKILL
        return killed and [one["point"] for one in told] == [self.point]


@dataclass
class Matrix:
    """Every point as often as asked, in an order that the seed decides."""

    chance: random.Random
    waiting: list[str]
    killed: Counter[str] = field(default_factory=Counter)

    def run(self, workers: Sequence[Worker], run: Run) -> None:
        """Arm, watch and start again until every point was died at so often."""
        armed = [Armed(worker) for worker in workers]
        for one in armed:
            one.worker.kill()
            self._next(one)
        while any(one.point for one in armed):
            time.sleep(0.1)
            for one in armed:
                if one.point is not None:
                    self._look(one, run)

    def _look(self, one: Armed, run: Run) -> None:
        assert one.point is not None
        if one.worker.exit_code is not None:
            if one.died_there():
                self.killed[one.point] += 1
                run.fired()
            else:
                self.waiting.insert(0, one.point)
            self._next(one)
            return
        ready, lived = one.ready_seconds(), time.monotonic() - one.since
        if ready > READY_SECONDS_MAX or lived > LIVED_SECONDS_MAX:
            one.worker.kill()
            self.waiting.insert(0, one.point)
            self._next(one)
        elif one.point in ON_LEAVING and ready > PATIENCE_SECONDS and not one.asked_to_stop:
            one.asked_to_stop = True
            kill(one.worker.pid, signal.SIGTERM)

    def _next(self, one: Armed) -> None:
        point = self.waiting.pop() if self.waiting else None
        one.go(point, self.chance.randint(1, VISITS_MAX))


def test_a_worker_that_dies_at_any_point_of_its_work_loses_and_doubles_nothing(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    chance = random.Random(SEED)
    killed: Counter[str] = Counter()
    times = repeats(1, 20)
    for first in range(0, times, TIMES_A_RUN):
        directory = tmp_path_factory.mktemp("crash-points")
        deployment = Deployment(directory, kafka.bootstrap, FAULT_METRICS, FAULT_SETTINGS)
        some = min(TIMES_A_RUN, times - first)
        fault = f"SIGKILL at each of {len(POINTS)} points, {some} times"
        with (
            deployment.running(3) as fleet,
            proven(deployment, fleet, fault=fault, seed=SEED, rate=RATE, mix=MIX) as run,
        ):
            run.warm_up()
            for _ in range(some):
                matrix = Matrix(chance, chance.sample(sorted(POINTS), len(POINTS)))
                matrix.run(fleet.workers, run)
                run.wait_fresh(FRESH_SECONDS_MAX)
                killed += matrix.killed
            fleet.wait_ready()
    assert killed == dict.fromkeys(POINTS, times)
