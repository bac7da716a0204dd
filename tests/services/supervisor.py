"""Owns starting workers again that ended by themselves, as whoever runs them would; it judges none.

A worker may end where going on would be wrong; that its supervisor starts it again is part of the
design. What a test kills stays dead.
"""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from tests.services.workers import Worker, WorkerFailure, WorkerFleet

#: From an end until the next start, so that a worker that cannot start does not use up a core.
PAUSE_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.05
#: Of one worker; one that ends more often is left dead, and whoever waits for it says so.
RESTARTS_MAX: Final = 20
REASON_LINES_MAX: Final = 5
READY_SECONDS_MAX: Final = 90.0


@dataclass(frozen=True, slots=True)
class Restart:
    """One end of a worker that was followed by a start."""

    worker: str
    exit_code: int
    #: Since the supervisor began.
    after_seconds: float
    #: The last lines that tell of an error in that life of the worker.
    reason: tuple[str, ...]


class Supervisor:
    """Watches the workers of a fleet; a context manager, to be left before the fleet is.

    The kernel ties a process to the thread that started it, so those it started end with it.
    """

    def __init__(self, fleet: WorkerFleet, restarts_max: int = RESTARTS_MAX) -> None:
        self._fleet = fleet
        self._restarts_max = restarts_max
        self._told = {worker.name: 0 for worker in fleet}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")
        #: In the order they happened.
        self.restarts: list[Restart] = []

    def wait_ready(self) -> None:
        """Block until all are ready, however often they have to be started; else WorkerFailure."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                self._fleet.wait_ready()
                return
            except WorkerFailure:  # one that has just ended
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Watch no more; what was started here is killed with the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(POLL_SECONDS):
            for worker in self._fleet:
                exit_code = worker.exit_code
                if exit_code is None or self._count(worker) >= self._restarts_max:
                    continue
                reason = tuple(self._errors(worker)[-REASON_LINES_MAX:])
                self.restarts.append(
                    Restart(worker.name, exit_code, round(time.monotonic() - began, 1), reason)
                )
                if self._ended.wait(PAUSE_SECONDS):
                    return
                worker.start()

    def _count(self, worker: Worker) -> int:
        return sum(restart.worker == worker.name for restart in self.restarts)

    def _errors(self, worker: Worker) -> list[str]:
        """The errors that this worker told of since its last start."""
        errors = worker.errors
        told, self._told[worker.name] = self._told[worker.name], len(errors)
        return errors[told:]
