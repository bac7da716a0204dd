"""Owns reading the profile of a worker that runs with the stopwatches of `candidates.stages`."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from analytics import clock
from benchmarks.candidates.stages import SNAPSHOT_SIGNAL

SNAPSHOT_SECONDS_MAX = 5.0


def snapshot(pid: int, file: Path, number: int) -> None:
    """Let the worker write its snapshot number `number`, and wait until it stands in `file`."""
    os.kill(pid, SNAPSHOT_SIGNAL)
    deadline = clock.monotonic() + SNAPSHOT_SECONDS_MAX
    while not (file.exists() and file.read_text().count("\n") >= number):
        if clock.monotonic() > deadline:
            raise TimeoutError("the worker wrote no snapshot of its profile")
        time.sleep(0.002)


def shares(file: Path) -> Iterator[tuple[str, float]]:
    """(name, CPU seconds) between the first and the last snapshot.

    First the threads, which add up to the whole process, then the stages inside of them.
    """
    first, *_, last = map(json.loads, file.read_text().splitlines())
    for kind in ("threads", "stages"):
        for name, seconds in sorted(last[kind].items(), key=lambda item: -item[1]):
            yield f"{kind[:-1]} {name}", seconds - first[kind].get(name, 0.0)
