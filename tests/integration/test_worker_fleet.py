"""Owns the proof that one command runs several workers as one would run them one by one."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.asking import Asking
from tests.services.environment import child_environment
from tests.services.flights import DAILY_METRICS, events_of, framed, shuffled
from tests.services.kafka import KafkaServer
from tests.services.loading import Load, wait_counted
from tests.services.ports import steady_port
from tests.services.workers import PARTITIONS, Deployment

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

PROCESSES = 3
SECONDS_MAX = 45.0
STARTED = re.compile(r'"name": "worker-(\d)", "pid": (\d+)')


@pytest.fixture
def deployment(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("fleet"), kafka.bootstrap, DAILY_METRICS)


class Fleet:
    """The command as a process, its workers by number, and what it has said."""

    def __init__(self, deployment: Deployment) -> None:
        port = steady_port(PROCESSES)
        self.asking = [Asking(f"http://127.0.0.1:{port + number}") for number in range(PROCESSES)]
        self.data = deployment.directory / "data"
        self._log = deployment.directory / "fleet.log"
        command = [
            *(sys.executable, "-m", "analytics", "--config", str(deployment.config)),
            *("worker", "--processes", str(PROCESSES)),
            *("--port", str(port), "--data-dir", str(self.data)),
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, env=child_environment(), stderr=log)

    def close(self) -> None:
        """Kill it, if it runs, and let go of connections."""
        self.process.kill()
        self.process.wait()
        for one in self.asking:
            one.close()

    @property
    def log(self) -> str:
        """All that the command and its workers have said."""
        return self._log.read_text()

    @property
    def pids(self) -> dict[int, int]:
        """The process last started of each worker."""
        return {int(number): int(pid) for number, pid in STARTED.findall(self.log)}

    def wait_ready(self) -> None:
        """Block until all of them are."""
        deadline = time.monotonic() + SECONDS_MAX
        while any(one.readiness().status != 200 for one in self.asking):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)


@contextmanager
def running(deployment: Deployment) -> Iterator[Fleet]:
    fleet = Fleet(deployment)
    try:
        yield fleet
    finally:
        fleet.close()


def test_they_share_the_partitions_outlive_the_death_of_one_and_end_together(
    deployment: Deployment,
) -> None:
    flights = events_of(shuffled(4_000))
    load = Load(deployment)
    with running(deployment) as fleet:
        fleet.wait_ready()
        owned = [one.readiness().document["source_partitions"] for one in fleet.asking]
        assert sorted(sum(owned, [])) == list(range(PARTITIONS))
        assert all(owned)
        load.send(framed(flights[:2_000], 100))
        load.flush()
        for one in fleet.asking:
            wait_counted(one, "flights", 2_000)

        before = fleet.pids
        os.kill(before[1], signal.SIGKILL)
        while fleet.pids[1] == before[1]:
            time.sleep(0.05)
        fleet.wait_ready()
        load.send(framed(flights[2_000:], 100))
        load.flush()
        for one in fleet.asking:
            wait_counted(one, "flights", 4_000)
        assert {n: pid for n, pid in fleet.pids.items() if n != 1} == {
            n: pid for n, pid in before.items() if n != 1
        }
        assert sorted(path.name for path in fleet.data.iterdir()) == [
            f"worker-{number}" for number in range(PROCESSES)
        ]

        fleet.process.send_signal(signal.SIGTERM)
        assert fleet.process.wait(SECONDS_MAX) == 0, fleet.log
        assert all_are_gone(fleet.pids)


def test_when_the_command_is_killed_its_workers_do_not_go_on_alone(deployment: Deployment) -> None:
    with running(deployment) as fleet:
        fleet.wait_ready()
        fleet.process.kill()
        fleet.process.wait()
        deadline = time.monotonic() + SECONDS_MAX
        while not all_are_gone(fleet.pids):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def all_are_gone(pids: dict[int, int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids.values())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--processes", "0"], "'--processes': 0 is not in the range"),
        (["--processes", "9", "--port", "65530"], "9 workers from this port on need port 65538"),
        (["--processes", "2", "--port", "0"], "--processes needs a port to count from"),
    ],
)
def test_what_cannot_be_run_is_wrong_use(arguments: list[str], complaint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "analytics", "worker", *arguments],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert complaint in done.stderr
