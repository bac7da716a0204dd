"""Owns how long a worker whose disk is gone takes to be ready again, with very many series."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from analytics import clock
from analytics.topics import TABLES
from tests.services.kafka import KafkaServer
from tests.services.loading import Load, end_offsets
from tests.services.oracle.reporting import Report
from tests.services.workers import PARTITIONS, Deployment, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(900)]

HOUR_MS = 3_600_000
EVENTS_A_RECORD = 500
PARTITION = 0
READY_SECONDS_MAX = 300.0
SEEN_SECONDS_MAX = 60.0
#: Sent once more at the end: they must add to what was there.
AGAIN = 1_000

EVENT = b'{"id":"%d","timestamp":%d,"type":"t","source":"s","data":{"n":"v%d"}}'
METRICS = """\
metrics:
  wide:
    dimensions: [{n: data.n}]
    aggregations: [count]
    window: {size: 1h, grace: 1h}
    retention: 30d
    max_series: 2000000
"""


@dataclass(frozen=True, slots=True)
class Start:
    """A start of a process, until it was ready."""

    seconds: float
    #: Since its stores were opened, which is the first thing of a recovery.
    recovery_seconds: float
    cpu_seconds: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """What recovery was like.

    An entry is a row of a series, of which a record holds many; each is on both changelogs, and
    counted once.
    """

    series: int
    empty: Start
    wiped: Start
    #: Of each changelog, in the end.
    records: Sequence[int]

    def report(self, took_seconds: float) -> None:
        """Nothing is sent meanwhile, and there are no readers: only figures."""
        wiped, empty = self.wiped, self.empty
        figures = {
            "start_to_ready_seconds": _both(wiped.seconds, empty.seconds),
            "recovery_to_ready_seconds": _both(wiped.recovery_seconds, empty.recovery_seconds),
            "cpu_seconds": _both(wiped.cpu_seconds, empty.cpu_seconds),
            "resident_MiB": _both(wiped.resident_bytes >> 20, empty.resident_bytes >> 20),
            "entries_per_second": round(self.series / wiped.recovery_seconds),
            "records_of_each_changelog": self.records,
        }
        sent = self.series + AGAIN
        Report(
            fault=f"all of {self.series:,} series recovered",
            seed=0,
            fired=1,
            events=sent,
            acked=sent,
            counted=sent,
            late=0,
            duplicates=0,
            dead_letters=0,
            lost=0,
            doubled=0,
            live_answers=0,
            live_claims=0,
            live_excess=0,
            live_early=0,
            fresh_seconds=[round(self.wiped.seconds, 3)],
            took_seconds=round(took_seconds, 1),
            figures=figures,
        ).write()


def _both(wiped: float, empty: float) -> str:
    return f"{wiped:.2f} (with nothing to recover {empty:.2f})"


@pytest.mark.parametrize(
    "series", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_a_wiped_worker_reads_all_of_its_series_again(
    series: int, kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All of them are open in one source partition: each is on both changelogs."""
    began = time.monotonic()
    directory = tmp_path_factory.mktemp("recovery")
    deployment = Deployment(directory, kafka.bootstrap, METRICS)
    start_ms = clock.now_ms() // HOUR_MS * HOUR_MS - HOUR_MS
    worker = deployment.worker()
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(worker.asking.close)
        at_the_end.callback(worker.kill)
        empty = _wait_ready(worker)
        _send(deployment, start_ms, series)
        _wait_counted(worker, start_ms, series, series)
        assert worker.stop().exit_code == 0
        _wipe(worker)
        wiped = _wait_ready(worker)
        _wait_counted(worker, start_ms, series, series)
        _send(deployment, start_ms, AGAIN)
        _wait_counted(worker, start_ms, series, series + AGAIN)
        records = [_changelog_records(deployment, table) for table in TABLES]
    found = Found(series, empty, wiped, records)
    found.report(time.monotonic() - began)


def _wait_ready(worker: Worker) -> Start:
    """Start it and block until it is ready; AssertionError beyond the time for it."""
    began = time.monotonic()
    worker.start()
    while worker.asking.readiness().status != 200:
        worker.check_alive()
        assert time.monotonic() < began + READY_SECONDS_MAX, f"not ready: {worker.log[-8192:]}"
        time.sleep(0.05)
    seconds, now = time.monotonic() - began, clock.now_ms() / 1000
    opened = min(path.stat().st_mtime for path in worker.data.rglob("CURRENT"))
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1])
    return Start(
        seconds=seconds,
        recovery_seconds=now - opened,
        cpu_seconds=ticks / os.sysconf("SC_CLK_TCK"),
        resident_bytes=pages * os.sysconf("SC_PAGESIZE"),
    )


def _send(deployment: Deployment, start_ms: int, series: int) -> None:
    """One event of each series, all to one partition."""
    load = Load(deployment, codec="lz4")
    load.send(_records(start_ms, series), partition=PARTITION)
    load.flush()


def _records(start_ms: int, series: int) -> Iterator[bytes]:
    for first in range(0, series, EVENTS_A_RECORD):
        numbers = range(first, min(first + EVENTS_A_RECORD, series))
        yield b"\n".join(EVENT % (number, start_ms, number) for number in numbers)


def _wait_counted(worker: Worker, start_ms: int, series: int, events: int) -> None:
    """Block until there are so many series and events. So where both are as many, each has one."""
    question = {
        "metrics": ["wide"],
        "aggregations": ["count"],
        "timeRange": {"from": start_ms, "to": start_ms + HOUR_MS},
    }
    deadline = time.monotonic() + SEEN_SECONDS_MAX
    while (found := _found(worker, question)) != (series, events):
        worker.check_alive()
        assert max(found[0] - series, found[1] - events) <= 0, f"too much: {found}"
        assert time.monotonic() < deadline, f"{found} of {(series, events)}"
        time.sleep(0.5)


def _found(worker: Worker, question: Mapping[str, object]) -> tuple[int, int]:
    rows = worker.asking.rows_or_none(question)
    samples = worker.asking.samples('analytics_series{metric="wide"}')
    return int(sum(samples.values())), int(rows[0][1]) if rows else 0


def _wipe(worker: Worker) -> None:
    """Leave nothing but the file with its name, so that its partitions are given to it."""
    for path in worker.data.rglob("*"):
        if path.is_file() and path.name != "worker.id":
            path.unlink()


def _changelog_records(deployment: Deployment, table: str) -> int:
    return sum(end_offsets(deployment.bootstrap, deployment.topics.changelog(table), PARTITIONS))
