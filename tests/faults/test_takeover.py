"""Owns the proof that others go on for a worker in seconds: one that was killed, one that restarts.

A worker that is restarted within its session keeps its partitions: nobody takes over from it, and
nobody else notices but for the seconds in which it is away.
"""

import bisect
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from analytics.topics import owner_partition
from tests.faults.conftest import Repeats
from tests.services.kafka import KafkaServer
from tests.services.membership import SHARES, generation, share, took_over
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Run, proven
from tests.services.oracle.views import LIVE_VIEWS
from tests.services.workers import PARTITIONS, Deployment, Worker, WorkerFleet

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(7_200)]

SEED = 20131224
RATE = 1_000
#: As it is for everybody who does not choose: what is measured here is what they get.
SESSION_SECONDS = 10
#: Of workers that are restarted, so that they are back in time also on a machine that others use.
RESTART_SESSION_SECONDS = 30
#: A member is heard of so often; the session counts from the last time.
HEARTBEAT_SECONDS = RESTART_SESSION_SECONDS / 5

#: What is promised, and how much more is let pass of the last two where few repeats are asked for:
#: then others use the machine as well.
TAKEOVER_SECONDS = 20.0
DRAIN_SECONDS = 10.0
GAP_SECONDS = 10.0
ROOM = 2
DRAIN_SECONDS_MAX = 20.0
FRESH_SECONDS_MAX = 60.0
STARTED_SECONDS_MAX = 60.0


def test_the_others_go_on_for_a_killed_worker_within_seconds(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    """It is not started before they are as far as ever: what is left of the fleet does it alone."""
    deployment = _deployment(kafka, tmp_path_factory, "takeover", SESSION_SECONDS)
    seconds: list[float] = []
    victim: Worker | None = None
    with (
        deployment.running(3) as fleet,
        proven(deployment, fleet, fault="killed, and taken over", seed=SEED, rate=RATE) as run,
    ):
        run.warm_up()
        for number in range(repeats(2, 30)):
            if victim is not None:
                victim.start()
                fleet.wait_ready()
            victim = fleet[number % 3]
            others = [worker for worker in fleet if worker is not victim]
            before = took_over(others)
            victim.kill()
            run.fired()
            seconds.append(run.wait_fresh(FRESH_SECONDS_MAX))
            assert took_over(others) > before, "nobody took over from a worker that was killed"
        run.figures["takeover_seconds"] = _told(seconds)
    assert max(seconds) <= TAKEOVER_SECONDS


def test_a_fleet_restarted_one_by_one_stops_for_seconds_and_never_rebalances(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    """Each is asked to end, ends well and soon, and is given back what it had."""
    deployment = _deployment(kafka, tmp_path_factory, "restart", RESTART_SESSION_SECONDS)
    steps = []
    with (
        deployment.running(3) as fleet,
        proven(deployment, fleet, fault="restarted one by one", seed=SEED, rate=RATE) as run,
        Lag(run) as lag,
    ):
        run.warm_up()
        for _ in range(repeats(1, 17)):
            for worker in fleet:
                steps.append(_restart(deployment, fleet, worker, run, lag))
        drains = [step.drain_seconds for step in steps]
        gaps = [step.gap_seconds for step in steps]
        run.figures["drain_seconds"] = _told(drains)
        run.figures["freshness_gap_seconds"] = _told(gaps)
        run.figures["away_seconds"] = _told([step.away_seconds for step in steps])
        run.figures["refused_of_the_worker_away"] = sum(step.refused for step in steps)
        run.figures["refused_of_others"] = sum(step.refused_of_others for step in steps)
        run.figures["asked"] = sum(step.asked for step in steps)
    room = repeats(ROOM, 1)
    assert max(drains) <= DRAIN_SECONDS * room
    assert max(gaps) <= GAP_SECONDS * room
    assert sum(step.refused_of_others for step in steps) == 0
    assert any(step.within_session for step in steps), "all were away longer than a session"


@dataclass(frozen=True, slots=True)
class Step:
    """What one restart was like. Questions went to the workers that were not restarted."""

    drain_seconds: float
    #: From the end of the process until it was ready again.
    away_seconds: float
    gap_seconds: float
    asked: int
    #: Of metrics that the restarted worker merges, and of the others.
    refused: int
    refused_of_others: int
    within_session: bool


def _restart(
    deployment: Deployment, fleet: WorkerFleet, worker: Worker, run: Run, lag: "Lag"
) -> Step:
    others = [one for one in fleet if one is not worker]
    shares = {one.name: share(one) for one in fleet}
    away_metrics = {
        view.metric
        for view in LIVE_VIEWS
        if owner_partition(view.metric, PARTITIONS) in shares[worker.name][1]
    }
    before = generation(deployment), took_over(others)
    with Probe(others) as probe:
        began = time.monotonic()
        run.fired()
        stopped = worker.stop()
        assert stopped.exit_code == 0
        assert stopped.seconds <= DRAIN_SECONDS_MAX
        ended = time.monotonic()
        worker.start()
        away_seconds = _wait_ready(worker) - ended
        run.wait_fresh(FRESH_SECONDS_MAX)
    within_session = away_seconds + HEARTBEAT_SECONDS < RESTART_SESSION_SECONDS
    if within_session:
        assert {one.name: share(one) for one in fleet} == shares
        assert (generation(deployment), took_over(others)) == before
    else:
        fleet.wait_ready()
    refused = [ask.metric in away_metrics for ask in probe.asked if ask.status != 200]
    return Step(
        drain_seconds=stopped.seconds,
        away_seconds=away_seconds,
        gap_seconds=lag.longest(began),
        asked=len(probe.asked),
        refused=sum(refused),
        refused_of_others=len(refused) - sum(refused) if within_session else 0,
        within_session=within_session,
    )


def _wait_ready(worker: Worker) -> float:
    """Block until it says that it is ready, which must be true; the time of that."""
    deadline = time.monotonic() + STARTED_SECONDS_MAX
    lives = took_over([worker])
    while (found := worker.asking.readiness()).status != 200:
        assert found.status in (0, 503)
        worker.check_alive()
        assert time.monotonic() < deadline, f"{worker.name} is not ready: {found.document}"
        time.sleep(0.02)
    ready_at = time.monotonic()
    held = sum(len(found.document[key]) for key in SHARES)
    assert 0 < held <= took_over([worker]) - lives, f"ready too early: {found.document}"
    return ready_at


def _told(seconds: Sequence[float]) -> list[float]:
    return [round(one, 2) for one in seconds]


def _deployment(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, name: str, session_seconds: int
) -> Deployment:
    settings = {**FAULT_SETTINGS, "session_timeout": f"{session_seconds}s"}
    return Deployment(tmp_path_factory.mktemp(name), kafka.bootstrap, FAULT_METRICS, settings)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what came of it: the status, 0 when nobody answered."""

    metric: str
    status: int


@dataclass
class Probe:
    """Asks these workers for every metric in turn, as a client would; a context manager."""

    workers: Sequence[Worker]
    asked: list[Asked] = field(default_factory=list)

    PAUSE_SECONDS = 0.05
    SECONDS_MAX = 5.0

    def __enter__(self) -> "Probe":
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(worker.asking.url,)) for worker in self.workers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=self.SECONDS_MAX, trust_env=False) as client:
            while not self._ended.wait(self.PAUSE_SECONDS):
                for view in LIVE_VIEWS:
                    self.asked.append(Asked(view.metric, self._status(client, view.metric)))

    def _status(self, client: httpx.Client, metric: str) -> int:
        question = {
            "metrics": [metric],
            "aggregations": ["count"],
            "timeRange": {"from": 0, "to": 1},
        }
        try:
            return client.post("/v1/query", json=question).status_code
        except httpx.TransportError:
            return 0


class Lag:
    """Notes all the time for how long what was sent could not be seen; a context manager."""

    PAUSE_SECONDS = 0.05

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        #: Moments, the newest event time that was sent by then, and the lag in seconds.
        self._times: list[float] = []
        self._newest: list[int] = []
        self._lags: list[float] = []

    def __enter__(self) -> "Lag":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def longest(self, since: float) -> float:
        """The longest that an event has waited to be seen since then."""
        return max(self._lags[bisect.bisect_left(self._times, since) :])

    def _watch(self) -> None:
        while not self._ended.wait(self.PAUSE_SECONDS):
            now = time.monotonic()
            self._times.append(now)
            self._newest.append(self._run.newest_ms)
            # The first moment at which more had been sent than can be seen by now.
            unseen = bisect.bisect_right(self._newest, self._run.through_ms)
            self._lags.append(now - self._times[unseen] if unseen < len(self._times) else 0.0)
