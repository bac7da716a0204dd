"""Owns the proof that more load than workers can take costs time, and neither memory nor events.

Workers that share one core with a costly catalog fall behind a producer that has the other one.
What waits is on Kafka: a backlog of many times a worker's memory is read without its growing.
"""

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Final, Self

import pytest

from tests.faults.conftest import Repeats
from tests.services.kafka import KafkaServer
from tests.services.loading import Load, committed_offsets, wait_counted
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Mix, Run, proven
from tests.services.oracle.reporting import REPORTING
from tests.services.supervisor import Supervisor
from tests.services.workers import Deployment, WorkerFailure, WorkerFleet

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(1_800)]

SEED = 20131227
RATE = 8_000
EVENTS_A_RECORD = 20
#: Nine in ten events are of one source.
MIX = Mix(hot=0.9)
FRESH_SECONDS_MAX = 150.0

#: What is sent must be so many times what is taken in at the same time.
OVERLOAD: Final = 2.0
#: Until a rate is that much: the rate is raised by this factor, after so many seconds.
STEP: Final = 1.5
STEP_SECONDS: Final = 4.0
RATE_MAX: Final = 200_000
#: How long it goes on after a worker was killed.
KILLED_SECONDS: Final = 4.0
WATCH_SECONDS: Final = 0.1
#: More events than can wait anywhere but in Kafka, by the end of it.
LAG_MIN: Final = 100_000
#: What a worker may hold of events that wait, however many do.
WAITING_BYTES_MAX: Final = 128 << 20
#: Windows of what was taken in are kept whatever the load, so quick workers grow more. Without any
#: overload one grows by 190 bytes an event; two are left with what three had.
STATE_BYTES_AN_EVENT_MAX: Final = 370

#: Metrics that nobody asks for: an event costs the workers much more than its producer.
COSTLY: Final = "".join(
    f"""\
  costly{number}:
    value: data.value
    dimensions: [source, type]
    aggregations: [count, sum, stddev, p50, p95]
    distinct: data.user
    topk: data.block
    window: {{size: 10s, grace: 10s}}
    retention: 20s
"""
    for number in range(6)
)

BACKLOG_METRICS: Final = """\
metrics:
  events:
    dimensions: [source]
    aggregations: [count]
    window: {size: 1h, grace: 1h}
    retention: 400d
"""
BACKLOG_EVENT: Final = (
    b'{"id":"1","timestamp":1357035300000,"type":"a","source":"s","data":{"x":"%s"}}'
)
BACKLOG_LINES: Final = 50
BACKLOG_RECORD: Final = b"\n".join([BACKLOG_EVENT % (b"x" * 8_000)] * BACKLOG_LINES)
BACKLOG_RECORDS: Final = 2_000
BACKLOG_GROWTH_BYTES_MAX: Final = 160 << 20


def test_twice_the_load_that_workers_can_take_makes_them_late_and_loses_nothing(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    """Most of it is of one key; one worker is killed in the middle, and comes back to a backlog."""
    directory = tmp_path_factory.mktemp("overload")
    deployment = Deployment(directory, kafka.bootstrap, FAULT_METRICS + COSTLY, FAULT_SETTINGS)
    chance = random.Random(SEED)
    with (
        deployment.running(3) as fleet,
        Supervisor(fleet),
        proven(deployment, fleet, fault="twice the load", seed=SEED, rate=RATE, mix=MIX) as run,
        Watch(fleet) as watch,
    ):
        run.warm_up()
        told = []
        for _ in range(repeats(1, 5)):
            watch.begin()
            before = run.acked
            pressure = Pressure(deployment, run)
            pressure.build()
            os.kill(chance.choice(fleet.workers).pid, signal.SIGKILL)
            time.sleep(KILLED_SECONDS)
            lag = pressure.lag()
            run.fired()
            run.hurry(RATE / 4)
            told.append((*pressure.found, lag, watch.growth_bytes >> 20))
            assert lag > LAG_MIN, f"the workers keep up: {told}"
            run.wait_fresh(FRESH_SECONDS_MAX)
            state_bytes_max = STATE_BYTES_AN_EVENT_MAX * (run.acked - before)
            growth_bytes_max = WAITING_BYTES_MAX + state_bytes_max
            assert watch.growth_bytes <= growth_bytes_max, f"{told}, {watch.told()}"
        run.figures["sent/s, taken/s, lag in events, growth in MiB"] = told
        run.figures["peak MiB"] = watch.told()


def test_a_backlog_of_many_times_its_memory_is_read_by_a_worker_that_does_not_grow(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All of it is of one key, and is there before the worker starts."""
    directory = tmp_path_factory.mktemp("backlog")
    deployment = Deployment(directory, kafka.bootstrap, BACKLOG_METRICS)
    with deployment.running(1) as fleet, Watch(fleet) as watch:
        worker = fleet[0]
        before = _resident_bytes(worker.pid)
        assert worker.stop().exit_code == 0
        load = Load(deployment)
        load.send(BACKLOG_RECORD for _ in range(BACKLOG_RECORDS))
        load.flush()
        worker.start()
        worker.wait_ready()
        wait_counted(worker.asking, "events", BACKLOG_RECORDS * BACKLOG_LINES, seconds_max=120.0)
        growth = watch.peak_bytes(worker.name) - before
    sent = BACKLOG_RECORDS * len(BACKLOG_RECORD)
    told = f"backlog of {sent >> 20} MiB: the worker grew by {growth >> 20} MiB"
    REPORTING.lines.append(told)
    assert growth < BACKLOG_GROWTH_BYTES_MAX < sent / 4, told


class Pressure:
    """Raises the rate until it is too much."""

    def __init__(self, deployment: Deployment, run: Run) -> None:
        self._deployment, self._run = deployment, run
        #: Events a second: sent, and taken in for good meanwhile.
        self.found = (0, 0)

    def build(self) -> None:
        """Block until what is sent is `OVERLOAD` times what is taken in, which grows no more."""
        rate = float(RATE)
        while self.found[0] < OVERLOAD * self.found[1] or not self.found[0]:
            rate *= STEP
            assert rate < RATE_MAX, f"too much is never reached: {self.found}"
            self._run.hurry(rate)
            before = self._progress()
            time.sleep(STEP_SECONDS)
            after = self._progress()
            seconds, sent, taken = (b - a for a, b in zip(before, after, strict=True))
            self.found = round(sent / seconds), round(taken / seconds)

    def lag(self) -> int:
        """Events that are on Kafka and not taken in for good."""
        _, sent, taken = self._progress()
        return int(sent - taken)

    def _progress(self) -> tuple[float, int, int]:
        offsets = committed_offsets(self._deployment)
        now, sent = time.monotonic(), self._run.acked
        return now, sent, sum(max(0, offset) for offset in offsets) * EVENTS_A_RECORD


class Watch:
    """Holds workers to one core, and notes how large they are; a context manager."""

    def __init__(self, fleet: WorkerFleet) -> None:
        self._fleet = fleet
        self._core = {min(os.sched_getaffinity(0))}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        #: Resident bytes by worker: at the beginning, and at most since then.
        self._before: dict[str, int] = {}
        self._peaks: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no more; those who are held stay so."""
        self._ended.set()
        self._thread.join()

    def begin(self) -> None:
        """Measure growth from here on."""
        self._before = {worker.name: _resident_bytes(worker.pid) for worker in self._fleet}
        self._peaks = dict(self._before)

    @property
    def growth_bytes(self) -> int:
        """By how much the worker that grew most is larger at its peak."""
        return max(self._peaks[name] - before for name, before in self._before.items())

    def peak_bytes(self, name: str) -> int:
        """The most that a worker had."""
        return self._peaks[name]

    def told(self) -> list[str]:
        """What each was and became, in MiB."""
        pairs = ((before, self._peaks[name]) for name, before in self._before.items())
        return [f"{before >> 20} to {peak >> 20}" for before, peak in pairs]

    def _run(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            for worker in self._fleet:
                with contextlib.suppress(OSError, WorkerFailure):  # it has just been killed
                    for task in os.listdir(f"/proc/{worker.pid}/task"):
                        os.sched_setaffinity(int(task), self._core)
                    size = _resident_bytes(worker.pid)
                    self._peaks[worker.name] = max(size, self._peaks.get(worker.name, 0))


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
