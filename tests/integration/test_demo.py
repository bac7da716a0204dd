"""Owns the proof that the demo shows live numbers and leaves nothing behind."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from analytics.demo.broker import free_port

NUMBERS_SECONDS_MAX = 45.0
END_SECONDS_MAX = 10.0

pytestmark = pytest.mark.timeout(120)


class Demo:
    """A demo in a process of its own, its output as lines in a file."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.data = directory / "data"
        self.scratch = directory / "tmp"
        self.scratch.mkdir()
        self._output = directory / "output"
        command = [sys.executable, "-u", "-m", "analytics", "demo", "--port", str(self.port)]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                # Where everything temporary must be gone at the end.
                env={**_environment(), "TMPDIR": str(self.scratch)},
            )

    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match of `pattern` in the output."""
        deadline = time.monotonic() + NUMBERS_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            if match := re.search(pattern, self.output()):
                return match
            time.sleep(0.05)
        pytest.fail(f"no {pattern!r} in the output:\n{self.output()}")

    def children(self) -> list[int]:
        """The processes it has started and that still run."""
        return [pid for pid in _processes() if _parent(pid) == self.process.pid]

    def end(self, number: signal.Signals) -> float:
        """Send a signal and wait; the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(2 * END_SECONDS_MAX)
        return time.monotonic() - began


def _environment() -> dict[str, str]:
    return {"PATH": str(Path(sys.executable).parent), "LANG": "C.UTF-8", "COLUMNS": "200"}


@contextmanager
def run(directory: Path, *options: str) -> Iterator[Demo]:
    """A demo that is killed at the end of the block if it still runs."""
    demo = Demo(directory, *options)
    try:
        yield demo
    finally:
        demo.process.kill()
        demo.process.wait()


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent(pid: int) -> int | None:
    """The parent of a process that runs; None for one that has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return None if state == "Z" else int(parent)
    return None


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + END_SECONDS_MAX
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_the_demo_answers_its_own_example_and_ends_without_a_trace(tmp_path: Path) -> None:
    with run(tmp_path, "--rate", "2000") as demo:
        demo.wait_for(r"source=UA departures\.count=[1-9][0-9,]*")
        example = shlex.split(demo.wait_for(r"try +(analytics .*)")[1])
        answer = subprocess.run(
            [sys.executable, "-m", *example], env=_environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        children = demo.children()
        seconds = demo.end(signal.SIGTERM)

        assert demo.process.returncode == 0, demo.output()
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"^\S+ \S+ +UA +-?[0-9.]+ ", answer.stdout, re.MULTILINE), answer.stdout
    assert seconds < END_SECONDS_MAX
    assert len(children) == 2
    assert [pid for pid in children if _parent(pid) is not None] == []
    assert list(demo.scratch.iterdir()) == []
    with socket.create_server(("127.0.0.1", demo.port)):
        pass  # the port is free again


def test_no_process_survives_a_demo_that_is_killed(tmp_path: Path) -> None:
    with run(tmp_path) as demo:
        assert _eventually(lambda: len(demo.children()) == 2)
        children = demo.children()
        demo.end(signal.SIGKILL)

    assert _eventually(lambda: all(_parent(pid) is None for pid in children))


def test_an_interrupted_start_is_a_clean_end_and_keeps_the_data_that_was_asked_for(
    tmp_path: Path,
) -> None:
    with run(tmp_path, "--data-dir", str(tmp_path / "data")) as demo:
        demo.wait_for("broker +kafka://")
        seconds = demo.end(signal.SIGINT)

        assert demo.process.returncode == 0, demo.output()
    assert seconds < END_SECONDS_MAX
    assert (demo.data / "worker.log").exists()
    assert list(demo.scratch.iterdir()) == []


def test_a_duration_that_passes_before_anything_is_ready_ends_the_demo(tmp_path: Path) -> None:
    with run(tmp_path, "--duration", "0.1") as demo:
        assert demo.process.wait(NUMBERS_SECONDS_MAX) == 0, demo.output()


def test_a_taken_port_is_named_in_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with run(tmp_path, "--port", str(port)) as demo:
            assert demo.process.wait(NUMBERS_SECONDS_MAX) == 1

    (line,) = demo.output().splitlines()
    assert line == (
        f"analytics: port {port} cannot be had: Address already in use; "
        "choose another one with --port"
    )


def test_a_worker_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    with run(tmp_path) as demo:
        demo.wait_for("broker +kafka://")
        workers = [pid for pid in demo.children() if b"worker" in _command(pid)]
        os.kill(workers[0], signal.SIGKILL)
        assert demo.process.wait(NUMBERS_SECONDS_MAX) == 1

    assert "the worker ended with code -9; its log ends with:" in demo.output()
    assert "Traceback" not in demo.output()
