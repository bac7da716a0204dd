"""The supervisor over real processes: what ends is started again, and at the end none is left."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from analytics.process import supervisor as module
from analytics.process.child import ChildProcess
from analytics.process.supervisor import Supervisor

SECONDS_MAX = 20.0
#: Says when it was started, then runs until it is asked to end.
RUNS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("started", flush=True)
time.sleep(60)
"""
DEAF = RUNS.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
STARTING = "import time; print('started', flush=True); time.sleep(60)"
FAILS = "print('started', flush=True); raise SystemExit(3)"


def child(directory: Path, name: str, program: str) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", program], directory / name)


def starts(directory: Path, name: str) -> int:
    path = directory / name
    return path.read_text().count("started") if path.exists() else 0


async def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    *children: tuple[str, ChildProcess], stop_seconds_max: float = SECONDS_MAX
) -> AsyncIterator["asyncio.Task[bool]"]:
    """The supervisor's run; it is told to stop at the end of the block, and awaited."""
    stop = asyncio.Event()
    run = asyncio.ensure_future(Supervisor(children).run(stop, stop_seconds_max))
    yield run
    stop.set()
    await asyncio.wait_for(run, SECONDS_MAX)


async def test_all_run_until_it_is_told_to_stop_and_end_in_order(tmp_path: Path) -> None:
    children = [(name, child(tmp_path, name, RUNS)) for name in ("a", "b")]
    async with running(*children) as run:
        await eventually(lambda: starts(tmp_path, "a") == starts(tmp_path, "b") == 1)
        pids = [one.pid for _, one in children]
    assert run.result() is True
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_one_that_is_killed_is_started_again_at_once_and_the_others_do_not_notice(
    tmp_path: Path,
) -> None:
    killed, other = child(tmp_path, "killed", RUNS), child(tmp_path, "other", RUNS)
    async with running(("killed", killed), ("other", other)) as run:
        await eventually(lambda: starts(tmp_path, "killed") == starts(tmp_path, "other") == 1)
        first = killed.pid
        assert first is not None
        began = time.monotonic()
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: starts(tmp_path, "killed") == 2)
        assert time.monotonic() - began < module.PAUSE_SECONDS_MIN
        assert killed.pid != first
    assert run.result() is True
    assert starts(tmp_path, "other") == 1


async def test_one_that_goes_on_failing_is_started_ever_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS_MIN", 0.4)
    began = time.monotonic()
    async with running(("fails", child(tmp_path, "fails", FAILS))) as run:
        await eventually(lambda: starts(tmp_path, "fails") == 4)
        assert time.monotonic() - began > 0.4 + 0.8
        assert not run.done()


def test_the_pause_grows_to_a_limit_and_no_further() -> None:
    pauses = [module._pause_seconds(ends) for ends in (1, 2, 3, 4, 50)]
    assert pauses == [0.0, 1.0, 2.0, 4.0, module.PAUSE_SECONDS_MAX]


async def test_one_that_lived_long_enough_is_started_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WELL_SECONDS", 0.0)
    monkeypatch.setattr(module, "PAUSE_SECONDS_MIN", 3_600.0)
    async with running(("fails", child(tmp_path, "fails", FAILS))):
        await eventually(lambda: starts(tmp_path, "fails") > 2)


async def test_one_that_does_not_end_is_killed_and_the_end_is_not_in_order(tmp_path: Path) -> None:
    deaf = child(tmp_path, "deaf", DEAF)
    async with running(("deaf", deaf), stop_seconds_max=0.5) as run:
        await eventually(lambda: starts(tmp_path, "deaf") == 1)
        pid = deaf.pid
    assert run.result() is False
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_one_that_is_asked_to_end_before_it_listens_ends_in_order(tmp_path: Path) -> None:
    early = child(tmp_path, "early", STARTING)
    async with running(("early", early)) as run:
        await eventually(lambda: starts(tmp_path, "early") == 1)
    assert run.result() is True


async def test_one_that_cannot_be_started_again_is_tried_again_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS_MIN", 0.1)
    directory = tmp_path / "logs"
    directory.mkdir()
    fails, fine = child(directory, "fails", FAILS), child(tmp_path, "fine", RUNS)
    async with running(("fails", fails), ("fine", fine)) as run:
        await eventually(lambda: starts(directory, "fails") == 1)
        directory.rename(tmp_path / "away")
        await asyncio.sleep(0.5)
        assert not run.done()
        (tmp_path / "away").rename(directory)
        before = starts(directory, "fails")
        await eventually(lambda: starts(directory, "fails") > before)
    assert starts(tmp_path, "fine") == 1


async def test_when_it_breaks_itself_it_leaves_nobody_behind(tmp_path: Path) -> None:
    fine = child(tmp_path, "fine", RUNS)
    broken = ChildProcess([sys.executable], tmp_path / "no-such-folder" / "log")
    with pytest.raises(FileNotFoundError):
        await Supervisor([("fine", fine), ("broken", broken)]).run(asyncio.Event(), SECONDS_MAX)
    assert fine.pid is None
