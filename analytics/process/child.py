"""Owns a child process that cannot outlive us; must not know what the child is for."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LOG_TAIL_BYTES_MAX = 8_192

# The child arms its own end before it becomes the program: `prctl(PR_SET_PDEATHSIG, SIGKILL)`.
# This runs after exec, not in `preexec_fn`, which deadlocks when another thread held a lock at the
# fork. A parent that died before the call is noticed by the changed parent id.
_ARM_AND_EXEC = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildProcess:
    """A program in a session of its own, killed by the kernel when the starting thread ends.

    `start` does not block on the program. Call it from a thread that lives as long as the child is
    wanted, in practice the main thread: Linux ties the signal to the thread, not to the process.
    A session of its own keeps a terminal's Ctrl-C away, so that we choose the order of ending.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Take an absolute program path with its arguments; None of the others means ours."""
        if not os.path.isabs(command[0]):
            raise ValueError(f"command[0] must be an absolute path, got {command[0]!r}")
        self._command = list(command)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = log_path

    @property
    def pid(self) -> int | None:
        """The process id while there is a child, ended or not, that was not stopped."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The code of a child that ended by itself; None while it runs or none was started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Spawn the program, its output appended to the log; raise OSError when that fails.

        Without a log its output goes where our own goes.
        """
        if self._process is not None:
            raise RuntimeError("the child is already started")
        launcher = [sys.executable, "-I", "-S", "-c", _ARM_AND_EXEC, str(os.getpid())]
        with contextlib.ExitStack() as opened:
            log = None
            if self.log_path is not None:
                log = opened.enter_context(self.log_path.open("ab"))
            self._process = subprocess.Popen(
                launcher + self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def terminate(self) -> None:
        """Ask the child to end, and do not wait for it; safe to call twice."""
        if self._process is not None:
            self._signal_group(signal.SIGTERM)

    def stop(self, *, grace_seconds: float) -> None:
        """Ask the child to end, kill its whole group after `grace_seconds`; safe to call twice."""
        if self._process is None:
            return
        self.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the child's group at once, as a crash would, and reap it; safe to call twice."""
        if self._process is None:
            return
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def log_tail(self) -> str:
        """Return the end of the child's output, for an error message; nothing without a log."""
        if self.log_path is None:
            return ""
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - LOG_TAIL_BYTES_MAX))
            return log.read().decode(errors="replace")

    def _signal_group(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return  # the whole group has ended: what was wanted
