"""Owns the proof that bad, repeated and untimely events do no harm, also where workers are killed.

Everything comes at once: lines that are no events, lines that are too long, events that a producer
sends again, events out of order, of the past and of the future, and SIGKILL while they are read.
"""

import random
import time

import pytest

from analytics.core.events.reasons import Reason
from tests.faults.conftest import Repeats
from tests.faults.test_sigkill import kill
from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Mix, Run, Shift, proven
from tests.services.oracle.events import DAY_MS
from tests.services.oracle.mishaps import KINDS
from tests.services.oracle.topics import dead_letters
from tests.services.supervisor import Supervisor
from tests.services.workers import Deployment, WorkerFleet

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(1_800)]

SEED = 20131225
RATE = 2_000
FRESH_SECONDS_MAX = 60.0
#: So many records have some of each kind.
SHOWN_RECORDS = 1_000
#: Some more than any repeat is behind: those of a partition between an event and its repeat.
DEDUP_IDS = 5_000

#: Of event time: out of order, but in a window that takes it; too late for every window; ahead of
#: all others; refused. What is ahead makes some of those that follow late.
SHIFTS = (
    Shift(0.02, -6_000),
    Shift(0.01, -90_000),
    Shift(0.002, 15_000),
    Shift(0.005, 2 * DAY_MS),
)
MIX = Mix(poison=0.01, oversized=0.001, repeats=0.02, shifts=SHIFTS)
#: The workers are to know a repeat also where others were killed and read again in between.
MIX_WITHOUT_REPEATS = Mix(
    poison=0.01,
    oversized=0.001,
    repeats=0.02,
    repeat_after_rounds=100,
    repeats_count=False,
    shifts=SHIFTS,
)


@pytest.mark.parametrize(
    ("name", "mix", "dedup_ids"),
    [("repeats counted", MIX, 0), ("repeats dropped", MIX_WITHOUT_REPEATS, DEDUP_IDS)],
)
def test_workers_killed_amid_events_of_every_bad_kind(
    name: str,
    mix: Mix,
    dedup_ids: int,
    kafka: KafkaServer,
    tmp_path_factory: pytest.TempPathFactory,
    repeats: Repeats,
) -> None:
    """Good events count as if there were no others, and each bad line is told of."""
    settings = {**FAULT_SETTINGS, "dedup_ids": dedup_ids}
    directory = tmp_path_factory.mktemp("data")
    deployment = Deployment(directory, kafka.bootstrap, FAULT_METRICS, settings)
    fault = f"SIGKILL amid bad events, {name}"
    with (
        deployment.running(3) as fleet,
        Supervisor(fleet),
        proven(deployment, fleet, fault=fault, seed=SEED, rate=RATE, mix=mix) as run,
    ):
        run.warm_up()
        for _ in range(repeats(1, 10)):
            _kill_all_ways(fleet, run)
        _assert_every_kind_was_sent(run)
    reasons = {letter.reason for letter in dead_letters(deployment)}
    assert reasons == {str(kind.reason) for kind in KINDS} | {Reason.FUTURE_TIMESTAMP}


def _kill_all_ways(fleet: WorkerFleet, run: Run) -> None:
    """One, two, and one for which the others take over."""
    chance = random.Random(SEED + run.fired_times)
    for victims, pause in ((1, 0.0), (2, 0.0), (1, 4.0)):
        time.sleep(chance.uniform(0.5, 2.5))
        kill(chance.sample(fleet.workers, victims), pause)
        run.fired()
        run.wait_fresh(FRESH_SECONDS_MAX)


def _assert_every_kind_was_sent(run: Run) -> None:
    lines = run.stream.lines(0, SHOWN_RECORDS)
    assert len(lines) < run.acked
    assert set(lines.kind.tolist()) == set(range(len(KINDS)))
    assert lines.again.any()
