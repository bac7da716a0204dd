"""Owns the proof that workers killed in the middle of a load lose and double nothing."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, proven
from tests.services.supervisor import Supervisor
from tests.services.workers import Deployment, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(240)]

SEED = 20131224
RATE = 3_000
FRESH_SECONDS_MAX = 60.0


def deployed(kafka: KafkaServer, directory: Path) -> Deployment:
    return Deployment(directory, kafka.bootstrap, FAULT_METRICS, FAULT_SETTINGS)


def test_three_workers_of_which_one_after_another_is_killed(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed alone and in pairs, restarted at once or after the others have taken over."""
    deployment = deployed(kafka, tmp_path_factory.mktemp("sigkill-of-three"))
    chance = random.Random(SEED)
    with (
        deployment.running(3) as fleet,
        Supervisor(fleet),
        proven(deployment, fleet, fault="SIGKILL of some of three", seed=SEED, rate=RATE) as run,
    ):
        run.warm_up()
        for victims, pause in ((1, 0.0), (2, 0.0), (1, 4.0)):
            time.sleep(chance.uniform(0.5, 2.5))
            kill(chance.sample(fleet.workers, victims), pause)
            run.fired()
            run.wait_fresh(FRESH_SECONDS_MAX)


def test_a_single_worker_killed_again_and_again(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nobody else can take over, and once it dies while it is still recovering."""
    deployment = deployed(kafka, tmp_path_factory.mktemp("sigkill-of-one"))
    chance = random.Random(SEED)
    with (
        deployment.running(1) as fleet,
        Supervisor(fleet),
        proven(deployment, fleet, fault="SIGKILL of the only one", seed=SEED, rate=RATE) as run,
    ):
        run.warm_up()
        for recovered in (True, False, True):
            time.sleep(chance.uniform(0.5, 2.5))
            kill(fleet.workers, 0.0)
            run.fired()
            if recovered:
                run.wait_fresh(FRESH_SECONDS_MAX)


def kill(victims: Sequence[Worker], pause_seconds: float) -> None:
    """Kill them all, and after a while start them again."""
    for worker in victims:
        worker.kill()
    time.sleep(pause_seconds)
    for worker in victims:
        worker.start()
