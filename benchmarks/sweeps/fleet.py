"""Owns one or more workers of a group as one candidate: their CPU and memory add up."""

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from analytics import clock
from benchmarks.worker import Worker

PROGRAM = [sys.executable, "-m", "benchmarks.candidates.ours"]
SETTLE_SECONDS_MAX = 120.0
#: The shares of the workers must have stood still for so long.
QUIET_SECONDS = 3.0


class Fleet:
    """Workers with folders and ports of their own, as `analytics worker --processes` starts them.

    Without the process that would start them again: nothing is to end here.
    """

    def __init__(
        self, size: int, directory: Path, *, settings: Mapping[str, object], metrics: str
    ) -> None:
        """As `Worker`, `size` times, in folders of `directory`."""
        self.workers = [
            Worker(PROGRAM, directory / f"worker-{number}", settings=settings, metrics=metrics)
            for number in range(size)
        ]
        self._running = ExitStack()

    def cpu_seconds(self) -> float:
        """User and system time of all."""
        return sum(worker.cpu_seconds() for worker in self.workers)

    def resident_bytes(self) -> int:
        """Memory of all."""
        return sum(worker.resident_bytes() for worker in self.workers)

    def peak_bytes(self) -> int:
        """The most that each ever had, together."""
        return sum(worker.peak_bytes() for worker in self.workers)

    def ask(self, document: Mapping[str, object]) -> dict[str, Any]:
        """The answer of the first one, which asks the others for what they own."""
        return self.workers[0].ask(document)

    def wait_until_owner(self, partitions: int) -> None:
        """Return as soon as a single worker has taken its partitions over, before it reads."""
        (worker,) = self.workers
        worker.wait_until_owner(partitions)

    def wait_until_settled(self, partitions: int) -> None:
        """Return once all partitions are shared out and stay where they are."""
        deadline = clock.monotonic() + SETTLE_SECONDS_MAX
        shares: list[tuple[int, int]] = []
        since = clock.monotonic()
        while True:
            now, held = clock.monotonic(), [worker.owned() for worker in self.workers]
            if now > deadline:
                raise TimeoutError(f"the workers did not share {partitions} partitions: {held}")
            if held != shares or not is_shared_out(held, partitions):
                shares, since = held, now
            elif now - since >= QUIET_SECONDS:
                return
            time.sleep(0.2)

    def __enter__(self) -> Self:
        """Start all of them; none is ready yet."""
        with ExitStack() as starting:
            for worker in self.workers:
                starting.enter_context(worker)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all of them in order."""
        self._running.__exit__(kind, error, trace)


def is_shared_out(held: list[tuple[int, int]], partitions: int) -> bool:
    """Whether every partition of both phases is held, and evenly as far as the numbers allow."""
    most = -(-partitions // len(held))
    return all(
        sum(share[phase] for share in held) == partitions
        and all(share[phase] <= most for share in held)
        for phase in (0, 1)
    )
