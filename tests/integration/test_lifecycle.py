"""Owns the proof that a worker starts, stops and starts again in order, and what it says of it."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from confluent_kafka.admin import AdminClient

from analytics.topics import TABLES
from tests.services.flights import DAILY_METRICS, DAY_MS, events_of, framed, shuffled
from tests.services.kafka import KafkaServer
from tests.services.loading import (
    Load,
    PacedLoad,
    committed_offsets,
    wait_applied,
    wait_committed,
    wait_counted,
)
from tests.services.truth import assert_becomes_right, truth
from tests.services.workers import PARTITIONS, Deployment, Stopped, Worker, WorkerFleet
from tests.services.year import year_by

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

TOOK_OVER = "took over a source partition"
STOP_SECONDS_MAX = 20.0
DELETED_SECONDS_MAX = 30.0
#: Longer than a test needs the load for; the rest is then sent at once.
LOAD_SECONDS = 40.0
#: So rare that what a stop leaves behind was flushed by the stop.
RARE_FLUSHES = {"flush_interval": "2s"}
KEYS = ["source", "origin"]


@pytest.fixture
def deployment(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(
        tmp_path_factory.mktemp("lifecycle"), kafka.bootstrap, DAILY_METRICS, RARE_FLUSHES
    )


@pytest.fixture
def fleet(deployment: Deployment) -> Iterator[WorkerFleet]:
    with deployment.running(1) as workers:
        yield workers


def test_a_worker_is_alive_before_it_is_ready_and_ready_once_it_owns_its_partitions(
    deployment: Deployment,
) -> None:
    with WorkerFleet([deployment.worker()]) as fleet:
        worker = fleet[0]
        before = []
        while (readiness := worker.asking.readiness()).status != 200:
            if readiness.status:
                before.append(readiness)
                assert worker.asking.get("/livez").status_code == 200
            worker.check_alive()
            time.sleep(0.01)
        assert before, "it never said that it was not ready"
        assert {one.status for one in before} == {503}
        assert all(one.document["reasons"] for one in before)
        assert readiness.document["reasons"] == []
        assert readiness.document["source_partitions"] == list(range(PARTITIONS))
        assert readiness.document["metric_partitions"] == list(range(PARTITIONS))


def test_a_restart_at_rest_replays_nothing_and_answers_as_before(
    deployment: Deployment, fleet: WorkerFleet
) -> None:
    worker, flights = fleet[0], shuffled(20_000)
    *events, last = events_of(flights)
    load = Load(deployment, codec="lz4")
    # In two parts: with the commit of the first, phase 1 is rid of the windows that it closed.
    for part in (events[:16_000], events[16_000:]):
        load.send(framed(part, 100))
        load.flush()
        ends = wait_committed(deployment)
    wait_counted(worker.asking, "flights", len(events))
    assert_exact(fleet, flights.head(len(events)))
    before = year_by("1d", worker.asking, KEYS)

    assert_orderly(worker.stop())
    assert committed_offsets(deployment) == ends
    worker.start().wait_ready()

    assert taken_over(worker) == {number: end - 1 for number, end in enumerate(ends)}
    assert year_by("1d", worker.asking, KEYS).equals(before)
    assert events_folded(worker) == 0

    load.send([last])
    load.flush()
    wait_applied(deployment, fleet)
    assert_exact(fleet, flights)
    assert events_folded(worker) == 1
    assert worker.errors == []


def test_sigterm_under_load_ends_soon_and_a_restart_goes_on_at_the_very_next_record(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("sigterm")
    deployment = Deployment(directory, kafka.bootstrap, DAILY_METRICS, RARE_FLUSHES)
    flights = shuffled(60_000)
    load = PacedLoad(deployment, events_of(flights), LOAD_SECONDS)
    with deployment.running(1) as fleet, ThreadPoolExecutor(1) as threads:
        worker = fleet[0]
        sending = threads.submit(load.run)
        folded = wait_folded(worker, 5_000)
        assert_orderly(worker.stop())
        worker.start()
        assert sending.running(), "the load was over before the stop"
        load.hurry()
        sending.result()
        worker.wait_ready()
        wait_applied(deployment, fleet)
        assert_exact(fleet, flights)

        kept = sum(applied + 1 for applied in taken_over(worker).values()) * load.EVENTS_A_RECORD
        assert kept >= folded, "what was folded before the stop was not made durable by it"
        assert kept + events_folded(worker) == len(flights)
        assert worker.errors == []


def test_workers_stopped_and_started_one_after_the_other_under_load_lose_nothing(
    deployment: Deployment,
) -> None:
    """A rolling restart: the others take over, and give back."""
    flights = shuffled(60_000)
    load = PacedLoad(deployment, events_of(flights), LOAD_SECONDS)
    with deployment.running(2) as fleet, ThreadPoolExecutor(1) as threads:
        sending = threads.submit(load.run)
        for worker in fleet:
            time.sleep(1.0)
            assert_orderly(worker.stop())
            worker.start().wait_ready()
        assert sending.running(), "the load was over before the last stop"
        load.hurry()
        sending.result()
        fleet.wait_ready()
        wait_applied(deployment, fleet)
        assert_exact(fleet, flights)
        assert [worker.errors for worker in fleet] == [[], []]


def test_a_fleet_that_lost_its_state_begins_anew_from_the_events(
    deployment: Deployment, fleet: WorkerFleet
) -> None:
    """As docs/operations.md has it: epochs start again, so nothing may remember the old ones."""
    worker, flights = fleet[0], shuffled(20_000)
    load = Load(deployment, codec="lz4")
    load.send(framed(events_of(flights), 100))
    load.flush()
    wait_applied(deployment, fleet)
    assert_orderly(worker.stop())
    worker.start().wait_ready()  # once more, so that its epoch is above the first
    assert_orderly(worker.stop())
    topics = deployment.topics
    lost = [topics.partials, *(topics.changelog(table) for table in TABLES)]
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    for deleted in admin.delete_topics(lost, operation_timeout=DELETED_SECONDS_MAX).values():
        deleted.result()
    shutil.rmtree(worker.data)
    command = [sys.executable, "-m", "analytics", "--config", str(deployment.config)]
    subprocess.run([*command, "topics", "create"], check=True, capture_output=True)

    worker.start().wait_ready()
    wait_applied(deployment, fleet)
    assert_exact(fleet, flights)


def assert_orderly(stopped: Stopped) -> None:
    assert stopped.exit_code == 0
    assert stopped.seconds < STOP_SECONDS_MAX


def assert_exact(fleet: WorkerFleet, sent: pl.DataFrame) -> None:
    expected = truth(sent, KEYS, step_ms=DAY_MS)
    assert_becomes_right(lambda: year_by("1d", fleet[0].asking, KEYS), expected, KEYS)


def taken_over(worker: Worker) -> dict[int, int]:
    """The offset applied already when the worker last took a source partition over."""
    return {one["partition"]: one["applied"] for one in worker.told(TOOK_OVER)}


def events_folded(worker: Worker) -> int:
    """Events that the worker has folded in its present life."""
    return int(worker.asking.samples("analytics_events_total")["analytics_events_total"])


def wait_folded(worker: Worker, events: int) -> int:
    """Block until the worker has folded so many events or more; how many it has."""
    deadline = time.monotonic() + 30.0
    while (folded := events_folded(worker)) < events:
        assert time.monotonic() < deadline, folded
        time.sleep(0.05)
    return folded
