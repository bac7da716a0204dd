"""Owns the proof that workers which hang, come and go, or meet in one directory harm nothing."""

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import kill

import pytest

from tests.faults.conftest import Repeats
from tests.services.kafka import KafkaServer
from tests.services.membership import generation, took_over, wait_owned
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Run, proven
from tests.services.workers import Deployment, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(7_200)]

SEED = 20131224
RATE = 1_000
SESSION_SECONDS = 3
SETTINGS = {**FAULT_SETTINGS, "session_timeout": f"{SESSION_SECONDS}s"}

#: What the workers give a loop that is blocked, and a partition that stands still.
BLOCKED_SECONDS = 15.0
STALLED_SECONDS = 6.0 * SESSION_SECONDS
#: Until it is noticed, and until a process has ended, on a machine that others use.
ROOM_SECONDS = 30.0
FRESH_SECONDS_MAX = 90.0
OWNED_SECONDS_MAX = 60.0
DRAIN_SECONDS_MAX = 20.0
REFUSED_SECONDS_MAX = 30.0
#: Workers that come or go in a storm, before it is seen whether the others get over it.
BLOWS = 4

REACHED = "crash point reached"


def test_a_worker_that_hangs_is_ended_by_itself_and_the_others_go_on(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    """In a thread, where all else goes on; in the event loop, where nothing else does."""
    deployment = _deployment(kafka, tmp_path_factory, "hangs")
    ended: list[float] = []
    with (
        deployment.running(3) as fleet,
        proven(deployment, fleet, fault="hangs in thread and loop", seed=SEED, rate=RATE) as run,
    ):
        run.warm_up()
        for number in range(repeats(1, 10)):
            worker = fleet[number % 3]
            others = [one for one in fleet if one is not worker]
            worker.kill()
            for hang in HANGS:
                # Its coming back is then the one rebalance: another would end the taking over
                # that hangs, and begin it anew in another thread.
                wait_owned(others, OWNED_SECONDS_MAX)
                worker.start(crash_at=hang.at)
                _wait_hung(worker)
                run.fired()
                ended.append(_wait_ended(worker, hang))
            run.wait_fresh(FRESH_SECONDS_MAX)
            worker.start()
            fleet.wait_ready()
        run.figures["ended_after_seconds"] = ended


@dataclass(frozen=True, slots=True)
class Hang:
    """Where to hang, after how long it is noticed, and what the worker says then."""

    at: str
    seconds: float
    words: str
    #: Whether HTTP goes on.
    answers: bool


HANGS = (
    Hang("panes.recovering:1:hang", STALLED_SECONDS, "has not moved for", answers=True),
    Hang("aggregate.folded:5:hang", BLOCKED_SECONDS, "the event loop is blocked", answers=False),
)


def _wait_hung(worker: Worker) -> None:
    before = len(worker.told(REACHED))
    deadline = time.monotonic() + OWNED_SECONDS_MAX
    while len(worker.told(REACHED)) == before:
        worker.check_alive()
        assert time.monotonic() < deadline, f"{worker.name} does not hang"
        time.sleep(0.05)


def _wait_ended(worker: Worker, hang: Hang) -> float:
    """See it end by itself and say why, and that nobody is sent to it till then; the seconds."""
    began, said = time.monotonic(), len(worker.log)
    statuses = set()
    while worker.exit_code is None:
        assert time.monotonic() < began + hang.seconds + ROOM_SECONDS, f"{worker.name} hangs on"
        statuses.add(worker.asking.readiness().status)
        time.sleep(0.1)
    assert worker.exit_code == 1
    assert hang.words in worker.log[said:]
    assert statuses <= {0, 503}
    assert (503 in statuses) == hang.answers
    return round(time.monotonic() - began, 1)


def test_a_fleet_of_one_that_grows_to_three_and_shrinks_again_in_a_storm_of_rebalances(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    """Workers come, are asked to end or are killed before the last rebalance is over."""
    deployment = _deployment(kafka, tmp_path_factory, "storm")
    chance = random.Random(SEED)
    with (
        deployment.running(3) as fleet,
        proven(deployment, fleet, fault="scaled in a storm", seed=SEED, rate=RATE) as run,
    ):
        stays, *come_and_go = fleet
        run.warm_up()
        _shrink(stays, come_and_go, run)
        up: set[Worker] = set()
        for _ in range(repeats(2, 20)):
            for _ in range(BLOWS):
                _blow(chance.choice(come_and_go), up, chance, run)
                time.sleep(chance.uniform(0.2, 2.0))
            for worker in come_and_go:
                if worker not in up:
                    _blow(worker, up, chance, run)
            fleet.wait_ready()
            run.wait_fresh(FRESH_SECONDS_MAX)
            _shrink(stays, come_and_go, run)
            up.clear()


def _blow(worker: Worker, up: set[Worker], chance: random.Random, run: Run) -> None:
    """Start it where it is not up; else end it, in whatever state it is."""
    run.fired()
    if worker not in up:
        worker.start()
    elif chance.random() < 0.5:
        worker.kill()
    else:
        _stop(worker)
    up ^= {worker}


def _shrink(stays: Worker, leave: Sequence[Worker], run: Run) -> None:
    """Leave one alone with everything; they all end at once."""
    run.fired()
    for worker in leave:
        kill(worker.pid, signal.SIGTERM)
    for worker in leave:
        assert worker.wait_dead(DRAIN_SECONDS_MAX) == 0
    wait_owned([stays], OWNED_SECONDS_MAX)
    run.wait_fresh(FRESH_SECONDS_MAX)


def _stop(worker: Worker) -> None:
    """One that has only begun to start may know nothing of SIGTERM yet, and die of it."""
    stopped = worker.stop()
    assert stopped.exit_code in (0, -signal.SIGTERM)
    assert stopped.seconds <= DRAIN_SECONDS_MAX


def test_a_second_worker_in_the_same_directory_says_so_and_does_not_disturb_the_first(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    deployment = _deployment(kafka, tmp_path_factory, "shared-directory")
    second = deployment.worker()
    with (
        deployment.running(1) as fleet,
        proven(deployment, fleet, fault="two in one directory", seed=SEED, rate=RATE) as run,
    ):
        run.warm_up()
        before = generation(deployment), fleet[0].pid, took_over(fleet)
        second.data.symlink_to(fleet[0].data)
        for _ in range(repeats(1, 5)):
            run.fired()
            second.start()
            assert second.wait_dead(REFUSED_SECONDS_MAX) == 1
            run.wait_fresh(FRESH_SECONDS_MAX)
        fleet[0].check_alive()
        assert (generation(deployment), fleet[0].pid, took_over(fleet)) == before
    reasons = {one["reason"] for one in second.told("the worker ended")}
    assert len(reasons) == 1
    assert reasons.pop().endswith("cannot be used as a data directory: another worker uses it")


def _deployment(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, name: str
) -> Deployment:
    directory = tmp_path_factory.mktemp(name)
    return Deployment(directory, kafka.bootstrap, FAULT_METRICS, SETTINGS)
