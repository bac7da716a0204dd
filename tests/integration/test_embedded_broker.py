"""Owns the proof that the demo's broker starts and ends; must not test Kafka itself."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from analytics.demo.broker import HOST, EmbeddedBroker, EmbeddedBrokerError
from analytics.process.child import ChildProcess
from tests.services.tansu import TansuServer
from tests.services.topics import create_topic

END_SECONDS_MAX = 5.0

# Starts a broker, says who it is, and is killed before it can clean up.
DOOMED_PARENT = """
import sys, time
from pathlib import Path
from analytics.demo.broker import EmbeddedBroker
broker = EmbeddedBroker(log_path=Path(sys.argv[1])).start()
sys.stdout.write(f"{broker.pid}\\n")
sys.stdout.flush()
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    """Tell whether a process still runs; one that waits to be reaped has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


def has_ended(pid: int) -> bool:
    """Wait until a process has ended; False after `END_SECONDS_MAX`."""
    deadline = time.monotonic() + END_SECONDS_MAX
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def test_a_topic_is_created_and_listed() -> None:
    with TansuServer() as server:
        create_topic(server.bootstrap, "events", partitions=4)

        topics = AdminClient({"bootstrap.servers": server.bootstrap}).list_topics(timeout=5).topics

        assert len(topics["events"].partitions) == 4


def test_two_brokers_run_beside_each_other() -> None:
    with TansuServer() as one, TansuServer() as other:
        assert one.port != other.port


def test_stop_ends_the_process_and_may_be_repeated() -> None:
    broker = EmbeddedBroker().start()
    pid = broker.pid
    assert pid is not None

    broker.stop()
    broker.stop()

    assert has_ended(pid)
    assert broker.pid is None


def test_the_broker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DOOMED_PARENT, str(tmp_path / "broker.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)

    assert has_ended(pid)


def test_a_taken_port_is_named() -> None:
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]

        with pytest.raises(EmbeddedBrokerError, match=f"port {port} cannot be had"):
            EmbeddedBroker(port=port).start()


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> ModuleSpec | None:
        del name
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)

    with pytest.raises(EmbeddedBrokerError, match=r"install streaming-analytics\[demo\]"):
        EmbeddedBroker().start()


def test_a_stubborn_child_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    child = ChildProcess([sys.executable, "-c", stubborn], tmp_path / "child.log")
    child.start()
    pid = child.pid
    assert pid is not None

    child.stop(grace_seconds=0.5)

    assert has_ended(pid)
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
