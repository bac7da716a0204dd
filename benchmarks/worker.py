"""Owns a stream worker as the benchmarks see it: a process with a port; it must not judge it."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from analytics import clock
from analytics.demo.broker import free_port
from analytics.process.child import ChildProcess
from benchmarks.processes import cpu_seconds, peak_bytes, resident_bytes

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
ANSWER_SECONDS_MAX = 60.0
#: What a worker logs for each partition it took over, of both phases.
_TOOK_OVER = b"took over a"


class Worker:
    """`analytics worker` on a configuration of its own, in a process of its own.

    Everything of a run is in `directory`: configuration, state and log.
    """

    def __init__(
        self,
        program: list[str],
        directory: Path,
        *,
        settings: Mapping[str, object],
        metrics: str,
    ) -> None:
        """`settings` are keys of `analytics.toml`; `metrics` is the text of `metrics.yaml`."""
        directory.mkdir(parents=True)
        self.port = port = free_port()
        document = {"port": port, "data_dir": str(directory / "state"), **settings}
        (directory / "analytics.toml").write_text("".join(_toml(document)))
        (directory / "metrics.yaml").write_text(metrics)
        self._log = directory / "worker.log"
        self._child = ChildProcess([*program, str(directory)], self._log)
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_SECONDS_MAX)

    @property
    def pid(self) -> int:
        """The process id of the running worker."""
        if self._child.pid is None or self._child.exit_code is not None:
            raise RuntimeError(f"the worker is not running:\n{self._child.log_tail()}")
        return self._child.pid

    def cpu_seconds(self) -> float:
        """User and system time of the whole process so far."""
        return cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        """Memory of the whole process that is in RAM."""
        return resident_bytes(self.pid)

    def peak_bytes(self) -> int:
        """The most of that it ever had."""
        return peak_bytes(self.pid)

    def wait_until_owner(self, partitions: int) -> None:
        """Return as soon as `partitions` of both phases are taken over, before reading starts."""
        deadline = clock.monotonic() + START_SECONDS_MAX
        while self._log.read_bytes().count(_TOOK_OVER) < 2 * partitions:
            if clock.monotonic() > deadline:
                raise TimeoutError(f"no partitions were taken over:\n{self._child.log_tail()}")
            _ = self.pid  # which raises once the worker has ended
            time.sleep(0.005)

    def ask(self, document: Mapping[str, object]) -> dict[str, Any]:
        """The worker's answer to a query."""
        response = self._http.post("/v1/query", json=document)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def owned(self) -> tuple[int, int]:
        """How many partitions of the two phases it serves; nothing while it is not ready."""
        try:
            response = self._http.get("/readyz")
        except httpx.ConnectError:
            _ = self.pid  # which raises once the worker has ended
            return 0, 0
        if response.status_code != httpx.codes.OK:
            return 0, 0
        described = response.json()
        return len(described["source_partitions"]), len(described["metric_partitions"])

    def __enter__(self) -> Self:
        """Start the worker; it is not ready yet."""
        self._child.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker in order."""
        self._http.close()
        self._child.stop(grace_seconds=STOP_SECONDS_MAX)


def _toml(document: Mapping[str, object]) -> Iterator[str]:
    for key, value in document.items():
        shown = str(value).lower() if isinstance(value, bool | int) else f'"{value}"'
        yield f"{key} = {shown}\n"
