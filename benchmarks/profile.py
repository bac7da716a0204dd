"""Owns reading the profile of a worker that runs with the stopwatches of `candidates.stages`."""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from analytics import clock
from benchmarks.candidates.stages import SNAPSHOT_SIGNAL

SNAPSHOT_SECONDS_MAX = 5.0
MAIN, CONSUMER, POOL = "main thread", "Kafka consumer thread", "thread pool (writes RocksDB)"
OTHERS = "other threads"
#: Faust gives the thread of its consumer no name; it is the first one started.
THREADS = {"MainThread": MAIN, "Thread-1": CONSUMER}
#: Stages that run in the thread pool.
POOLED = frozenset({"flush: write RocksDB"})


def snapshot(pid: int, file: Path, number: int) -> None:
    """Let the worker write its snapshot number `number`, and wait until it stands in `file`."""
    os.kill(pid, SNAPSHOT_SIGNAL)
    deadline = clock.monotonic() + SNAPSHOT_SECONDS_MAX
    while not (file.exists() and file.read_text().count("\n") >= number):
        if clock.monotonic() > deadline:
            raise TimeoutError("the worker wrote no snapshot of its profile")
        time.sleep(0.002)


def shares(file: Path) -> Iterator[tuple[str, float]]:
    """(part, CPU seconds) between the first and the last snapshot, the largest first.

    The threads add up to the whole process. The stages stand below the thread that they lie in, and
    what they leave of the main thread is a part of its own.
    """
    first, *_, last = map(json.loads, file.read_text().splitlines())
    stages = _difference(first["stages"], last["stages"])
    threads: defaultdict[str, float] = defaultdict(float)
    for name, seconds in _difference(first["threads"], last["threads"]).items():
        threads[_thread(name)] += seconds
    in_main = {name: seconds for name, seconds in stages.items() if name not in POOLED}
    in_main["event loop, Faust, Kafka producer"] = threads[MAIN] - sum(in_main.values())
    for thread in (MAIN, CONSUMER, POOL, OTHERS):
        yield thread, threads[thread]
        if thread == MAIN:
            for stage in sorted(in_main, key=in_main.__getitem__, reverse=True):
                yield f"- {stage}", in_main[stage]


def _difference(first: Mapping[str, float], last: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds - first.get(name, 0.0) for name, seconds in last.items()}


def _thread(name: str) -> str:
    if name.startswith("uvloop_"):
        return POOL
    return THREADS.get(name, OTHERS)
