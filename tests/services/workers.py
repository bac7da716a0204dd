"""Owns worker processes and the deployment they belong to; it neither sends nor judges."""

import contextlib
import itertools
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from analytics.demo.broker import EmbeddedBrokerError, free_port
from analytics.process.child import ChildProcess
from analytics.topics import Topics
from tests.services.asking import Asking
from tests.services.environment import child_environment
from tests.services.topics import create_topic

PARTITIONS = 8
READY_SECONDS_MAX = 45.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.1

#: A worker that was killed is missed after this; long enough for three of them on two cores.
SESSION_TIMEOUT = "6s"


#: Below what the kernel gives to outgoing connections, or one of those could hold the port of a
#: worker that is restarted; from another place in each process that runs tests.
_PORTS = itertools.count(16_384 + os.getpid() * 64 % 16_000)


_ERROR = re.compile(r"\bERROR\b|\bCRITICAL\b|\"level\": \"(error|critical)\"|^Traceback |\bError:")


class WorkerFailure(AssertionError):
    """A worker did not do what it was told; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a worker ended after SIGTERM."""

    exit_code: int
    seconds: float


class Deployment:
    """Topics with a prefix of their own, a configuration directory, and the workers that use them.

    Made ready by the constructor: the topics exist and the files are written. The prefix is the
    name of ``directory``; ``settings`` are keys of `analytics.toml`.
    """

    def __init__(
        self, directory: Path, bootstrap: str, metrics: str, settings: Mapping[str, object] = {}
    ) -> None:
        name = directory.name
        self.directory = directory
        self.bootstrap = bootstrap
        self.topics = Topics(f"{name}-")
        self._numbers = itertools.count()
        for spec in self.topics.specs(PARTITIONS):
            create_topic(bootstrap, spec.name, partitions=spec.partitions, config=spec.config)
        self.config = directory / "config"
        self.config.mkdir(parents=True)
        written: dict[str, object] = {
            "broker": f"kafka://{bootstrap}",
            "topic_prefix": self.topics.prefix,
            "partitions": PARTITIONS,
            "session_timeout": SESSION_TIMEOUT,
            **settings,
        }
        lines = (f"{key} = {_toml(value)}\n" for key, value in written.items())
        (self.config / "analytics.toml").write_text("".join(lines))
        (self.config / "metrics.yaml").write_text(metrics)

    def worker(self) -> "Worker":
        """One more worker, not started."""
        return Worker(self, f"worker-{next(self._numbers)}")

    @contextlib.contextmanager
    def running(self, count: int) -> Iterator["WorkerFleet"]:
        """Workers that share the partitions; whatever is left of them at the end is killed."""
        with WorkerFleet([self.worker() for _ in range(count)]) as fleet:
            fleet.wait_ready()
            yield fleet


class Worker:
    """One stream worker as a process with a port, a data directory and a log of its own.

    `start` does not wait; `wait_ready` does. After `stop` or `kill`, `start` continues with the
    same port and data. The log is one for all its lives.
    """

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.name = name
        self.data = deployment.directory / name
        self.port = _port()
        self.asking = Asking(f"http://127.0.0.1:{self.port}")
        self._log_path = deployment.directory / f"{name}.log"
        self._command = [
            sys.executable,
            *("-m", "analytics", "--config", str(deployment.config)),
            *("worker", "--port", str(self.port), "--data-dir", str(self.data)),
        ]
        self._child = self._process({})

    def _process(self, more: Mapping[str, str]) -> ChildProcess:
        environment = {**child_environment(), **more}
        return ChildProcess(self._command, self._log_path, environment=environment)

    @property
    def pid(self) -> int:
        """The process id; WorkerFailure when it was not started."""
        if self._child.pid is None:
            raise WorkerFailure(f"{self.name} is not started")
        return self._child.pid

    @property
    def log(self) -> str:
        """All that the worker has said so far."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def told(self, event: str) -> list[dict[str, Any]]:
        """Our own lines of the log that tell of ``event``, in all its lives."""
        marker = f'"event": "{event}"'
        return [json.loads(line) for line in self.log.splitlines() if marker in line]

    @property
    def errors(self) -> list[str]:
        """Lines of the log that tell of an error, by us, a library or Python."""
        return [line for line in self.log.splitlines() if _ERROR.search(line)]

    @property
    def exit_code(self) -> int | None:
        """How the process ended by itself (minus the signal's number); None while it runs."""
        return self._child.exit_code

    def start(self, crash_at: str | None = None) -> Self:
        """Start the process; ``crash_at`` as in `analytics.crash`."""
        self._child.kill()  # of one that ended by itself, the group may be left
        self._child = self._process({} if crash_at is None else {"ANALYTICS_CRASH_AT": crash_at})
        self._child.start()
        return self

    def pause(self) -> None:
        """SIGSTOP: the process stands still, and nobody is told."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on, and does not know that time has passed."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_dead(self, seconds_max: float) -> int:
        """Block until the process has ended by itself; its exit code. WorkerFailure beyond it."""
        deadline = time.monotonic() + seconds_max
        while (exit_code := self._child.exit_code) is None:
            if time.monotonic() > deadline:
                raise WorkerFailure(self._told(f"still runs after {seconds_max:g} s"))
            time.sleep(0.02)
        return exit_code

    def wait_ready(self) -> None:
        """Block until `/readyz` says so; WorkerFailure with the log's end when it does not."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while self.asking.readiness().status != 200:
            self.check_alive()
            if time.monotonic() > deadline:
                raise WorkerFailure(self._told(f"is not ready after {READY_SECONDS_MAX:g} s"))
            time.sleep(POLL_SECONDS)

    def check_alive(self) -> None:
        """WorkerFailure with the log's end when the process has ended by itself."""
        if self._child.exit_code is not None:
            raise WorkerFailure(self._told(f"ended with code {self._child.exit_code}"))

    def stop(self) -> Stopped:
        """End with SIGTERM and wait; WorkerFailure when it does not end by itself."""
        os.kill(self.pid, signal.SIGTERM)
        began = time.monotonic()
        while (exit_code := self._child.exit_code) is None:
            if time.monotonic() - began > STOP_SECONDS_MAX:
                raise WorkerFailure(self._told(f"runs {STOP_SECONDS_MAX:g} s after SIGTERM"))
            time.sleep(0.02)
        stopped = Stopped(exit_code, time.monotonic() - began)
        self._child.kill()  # of the process only its group may be left
        return stopped

    def kill(self) -> None:
        """End with SIGKILL; safe to call twice."""
        self._child.kill()

    def _told(self, problem: str) -> str:
        return f"{self.name} {problem}:\n{self._child.log_tail()}"


class WorkerFleet:
    """The workers of a deployment, started together; a context manager that kills what is left."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = list(workers)

    def __iter__(self) -> Iterator[Worker]:
        """The workers in the order they were made."""
        return iter(self.workers)

    def __getitem__(self, number: int) -> Worker:
        return self.workers[number]

    @property
    def logs(self) -> str:
        """What all of them have said so far."""
        return "".join(worker.log for worker in self.workers)

    def wait_ready(self) -> None:
        """Block until all are ready and share every partition, each of which has one owner."""
        for worker in self.workers:
            worker.wait_ready()
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self._is_balanced():
            if time.monotonic() > deadline:
                found = [worker.asking.readiness() for worker in self.workers]
                raise WorkerFailure(
                    f"the partitions are not shared out: {found}\n{self.logs[-8192:]}"
                )
            time.sleep(POLL_SECONDS)

    def __enter__(self) -> Self:
        """Start them all."""
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill them all: a test that wants an orderly end asks for it."""
        for worker in self.workers:
            worker.kill()
            worker.asking.close()

    def _is_balanced(self) -> bool:
        found = [worker.asking.readiness() for worker in self.workers]
        every = [
            sorted(itertools.chain.from_iterable(share(one.document) for one in found))
            for share in (_sources, _metrics)
        ]
        shared = all(_sources(one.document) for one in found)
        ready = all(one.status == 200 for one in found)
        return ready and shared and every == [list(range(PARTITIONS))] * 2


def _port() -> int:
    for candidate in _PORTS:
        with contextlib.suppress(EmbeddedBrokerError):
            return free_port(candidate)
    raise AssertionError("a count has no end")


def _sources(document: Mapping[str, Any]) -> list[int]:
    return list(document.get("source_partitions", ()))


def _metrics(document: Mapping[str, Any]) -> list[int]:
    return list(document.get("metric_partitions", ()))


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'
