"""Owns the proof that the oracle finds what a naive worker loses and doubles when it is killed."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from analytics.demo.broker import free_port
from analytics.process.child import ChildProcess
from tests.services.environment import child_environment
from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, Run, Unproven, proven
from tests.services.oracle.answers import Answer, Answers, Question
from tests.services.oracle.events import DIGITS
from tests.services.oracle.views import IDS, View
from tests.services.workers import PARTITIONS, Deployment

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(180)]

#: Each block is a message to the changelog, which stock Faust has its time with.
RATE, EVENTS_A_RECORD = 320, DIGITS
PORT = 32_100
ANSWER_SECONDS_MAX = 30.0


class NaiveWorker:
    """`tests.services.oracle.naive` as a process, and the answers that it gives."""

    live_views: Sequence[View] = (IDS,)
    views: Sequence[View] = (IDS,)
    name = "naive"

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._topic, self._directory = deployment.topics.events, deployment.directory
        port = free_port(PORT)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        self._command = [
            *(sys.executable, "-m", "tests.services.oracle.naive", deployment.bootstrap),
            *(self._topic, str(PARTITIONS), str(port), str(self._directory / "naive")),
        ]
        self._child = self._process()

    def start(self) -> None:
        """Start it, or start it again."""
        self._child = self._process()
        self._child.start()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._child.kill()

    def _process(self) -> ChildProcess:
        log = self._directory / "naive.log"
        return ChildProcess(self._command, log, environment=child_environment())

    # --- what it is asked -------------------------------------------------------------------------

    @property
    def readers(self) -> Sequence[Answers]:
        return [self]

    def ask(self, question: Question, seconds_max: float) -> Answer | None:
        """The blocks of the windows that are asked for; it knows nothing of completeness."""
        try:
            response = self._client.get("/counts", timeout=seconds_max)
        except httpx.TransportError:
            return None
        if response.status_code != httpx.codes.OK:
            return None
        rows: dict[tuple[int, str], tuple[int, int, int, int]] = {}
        for key, (count, total, least, greatest) in response.json().items():
            start, block = key.split(" ")
            if question.from_ms <= int(start) < question.to_ms:
                bucket = int(start) if question.step_ms else question.from_ms
                n, held, low, high = rows.get((bucket, block), (0, 0, least, greatest))
                merged = n + count, held + total, min(low, least), max(high, greatest)
                rows[bucket, block] = merged
        return Answer([[*key, *row] for key, row in rows.items()], None, 0, ())

    def applied(self) -> Mapping[int, int]:
        """What it has committed: after that it counts nothing again."""
        group = f"{self._topic}-naive"
        consumer = Consumer({"bootstrap.servers": self._deployment.bootstrap, "group.id": group})
        partitions = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        try:
            found = consumer.committed(partitions, timeout=ANSWER_SECONDS_MAX)
        finally:
            consumer.close()
        return {one.partition: one.offset - 1 for one in found}

    def complaints(self) -> list[str]:
        return []

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def naively(kafka: KafkaServer, directory: Path) -> Iterator[tuple[Deployment, NaiveWorker]]:
    """A naive worker that is killed at the end."""
    deployment = Deployment(directory, kafka.bootstrap, FAULT_METRICS)
    worker = NaiveWorker(deployment)
    worker.start()
    try:
        yield deployment, worker
    finally:
        worker.kill()


def test_nothing_is_wrong_with_a_naive_worker_that_nothing_happens_to(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """So whatever is found beside this is the fault's doing, and not the oracle's."""
    with (
        naively(kafka, tmp_path_factory.mktemp("naive-alone")) as (deployment, worker),
        judged(deployment, worker, "no fault, naive worker") as run,
    ):
        wait_answers(run, 20)
        run.fired()


def test_a_naive_worker_that_is_killed_is_found_to_count_wrong(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        naively(kafka, tmp_path_factory.mktemp("naive-killed")) as (deployment, worker),
        pytest.raises(Unproven) as caught,
        judged(deployment, worker, "SIGKILL of a naive worker") as run,
    ):
        for _ in range(2):
            wait_answers(run, run.seen.answers + 20)
            worker.kill()
            run.fired()
            worker.start()
    report = caught.value.report
    assert report.lost + report.doubled > 0
    assert report.live_excess > 0
    assert report.acked == report.counted + report.lost - report.doubled


def judged(deployment: Deployment, worker: NaiveWorker, fault: str) -> AbstractContextManager[Run]:
    size = EVENTS_A_RECORD
    return proven(deployment, worker, fault=fault, seed=1, rate=RATE, events_a_record=size)


def wait_answers(run: Run, count: int) -> None:
    """Block until so many answers were had."""
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while run.seen.answers < count:
        assert time.monotonic() < deadline, f"{run.seen.answers} answers of {count}"
        time.sleep(0.1)
