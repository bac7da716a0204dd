"""Owns one measured run of a rival's program; must not know which rival it is."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analytics import clock
from analytics.process.child import ChildProcess
from benchmarks.processes import cpu_seconds
from benchmarks.results import WrongResult

RUN_SECONDS_MAX = 600.0
#: What a figure may be off by is this in wall time, twice, of a run of many seconds.
LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run cost and what it answered.

    `warm_cpu_seconds` is the time for the last `warm_events` of the events, where the program said
    how far it was.
    """

    cpu_seconds: float
    seconds: float
    document: dict[str, Any]
    warm_cpu_seconds: float = 0.0
    warm_events: int = 0


def run(command: Sequence[str], events: int, directory: Path) -> Outcome:
    """Run a command until it has its result.

    The program makes files in the directory: `began` at its first event, perhaps `half` with the
    number of events counted by then, at last `result.json`, and then waits to be ended, so that the
    CPU time of its whole process tree can still be read from outside.
    """
    child = ChildProcess(command, directory / "program.log")
    child.start()
    try:
        return _watch(child, directory, events)
    finally:
        child.kill()


def _watch(child: ChildProcess, directory: Path, events: int) -> Outcome:
    began, half, result = (directory / name for name in ("began", "half", "result.json"))
    deadline = clock.monotonic() + RUN_SECONDS_MAX
    _wait(child, deadline, began.exists)
    cpu_began, time_began = _cpu(child), clock.monotonic()
    _wait(child, deadline, lambda: half.exists() or result.exists())
    cpu_half, counted = (_cpu(child), int(half.read_text())) if half.exists() else (0.0, events)
    _wait(child, deadline, result.exists)
    cpu, ended = _cpu(child), clock.monotonic()
    return Outcome(
        cpu_seconds=cpu - cpu_began,
        seconds=ended - time_began,
        document=json.loads(result.read_bytes()),
        warm_cpu_seconds=cpu - cpu_half,
        warm_events=events - counted,
    )


def _wait(child: ChildProcess, deadline: float, reached: Callable[[], bool]) -> None:
    while not reached():
        if child.exit_code is not None or clock.monotonic() > deadline:
            raise WrongResult(f"the candidate gave no result:\n{child.log_tail()}")
        time.sleep(LOOK_SECONDS)


def _cpu(child: ChildProcess) -> float:
    assert child.pid is not None
    return cpu_seconds(child.pid)
