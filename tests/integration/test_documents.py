"""Owns the proof that what README and the manual tell a reader to type works, on a real Kafka."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from analytics import clock
from tests.house.markdown import FENCE
from tests.house.sources import ROOT
from tests.services.environment import child_environment, require_program
from tests.services.kafka import KafkaServer
from tests.services.ports import steady_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

READY_SECONDS_MAX = 40.0
COMMAND_SECONDS_MAX = 30
COMMENT = re.compile(r"\s+#.*$")


def typed(page: str) -> list[str]:
    """Commands of a page's shell blocks, in order, without what a reader sets, sources or makes."""
    text = (ROOT / page).read_text()
    blocks = (match[2] for match in FENCE.finditer(text) if match[0].startswith("```bash"))
    commands: list[str] = []
    for block in blocks:
        quoted = ""
        for line in block.splitlines():
            quoted += line + "\n"
            if quoted.count("'") % 2 == 0:
                commands.append(COMMENT.sub("", quoted.strip()))
                quoted = ""
    return [each for each in commands if not each.startswith(("make ", "export ", "source "))]


class Reader:
    """Somebody who types into a shell, with the repository's sample metrics and README's own."""

    def __init__(self, directory: Path, bootstrap: str) -> None:
        self.directory = directory
        # The manual starts two workers, the second with the port after that of the first.
        self.port = steady_port(2)
        ours = child_environment()
        self.environment = ours | {
            "PATH": f"{Path(sys.executable).parent}:{ours['PATH']}",
            "ANALYTICS_BROKER": f"kafka://{bootstrap}",
            "ANALYTICS_TOPIC_PREFIX": f"{directory.name}-",
            "ANALYTICS_PORT": str(self.port),
        }
        shutil.copytree(ROOT / "config", directory / "config")
        with (directory / "config" / "metrics.yaml").open("a") as file:
            file.write(purchases())
        (directory / "events.ndjson").write_text(events())

    def command(self, line: str) -> str:
        """The line with a port that is free here, and a place that everybody may write to."""
        return line.replace("6066", str(self.port)).replace("/var/lib/analytics", "state")

    def type(self, line: str) -> str:
        """Run a command to its end and return what it printed; it must succeed."""
        done = subprocess.run(
            ["bash", "-c", self.command(line)],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, line: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command that goes on until Ctrl-C, which must end it with 0."""
        process = subprocess.Popen(
            ["bash", "-c", "exec " + self.command(line)],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(COMMAND_SECONDS_MAX) == 0, line
        finally:
            process.kill()
            process.communicate()

    def wait_until_ready(self) -> None:
        """Block until the worker that was started serves."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200:
                    return
            time.sleep(0.2)
        raise AssertionError("the worker of the manual is not ready")


def purchases() -> str:
    """README's metric, as lines to append to the sample file."""
    block = next(m[2] for m in FENCE.finditer((ROOT / "README.md").read_text()) if "yaml" in m[0])
    return block.partition("metrics:\n")[2]


def events() -> str:
    """README's event, a hundred times, as of now."""
    now_ms = clock.now_ms()
    return "".join(
        json.dumps(
            {
                "id": f"event-{number}",
                "timestamp": now_ms,
                "type": "purchase",
                "source": "shop",
                "data": {"amount": 12.5, "country": "DE", "user_id": f"u{number % 7}"},
            }
        )
        + "\n"
        for number in range(100)
    )


@pytest.fixture
def reader(tmp_path: Path, kafka: KafkaServer) -> Reader:
    """A reader in a directory of their own."""
    require_program("curl")
    return Reader(tmp_path, kafka.bootstrap)


def test_the_readme_can_be_typed_from_top_to_bottom(reader: Reader) -> None:
    commands = typed("README.md")
    names = [" ".join(each.split()[:2]) for each in commands]
    check, create, worker, send, tail = (
        commands[names.index(f"analytics {name}")]
        for name in ("check", "topics", "worker", "send", "tail")
    )
    asked = [each for each in commands if each.startswith(("analytics query", "curl"))]
    assert {check, create, worker, send, tail, *asked} == set(commands), "a command is not tested"

    assert "all valid" in reader.type(check)
    assert "created" in reader.type(create)
    with reader.running(worker):
        reader.wait_until_ready()
        assert "100" in reader.type(send)
        assert wait_for_rows(reader, next(each for each in asked if "curl" in each)) == [
            ["DE", 100]
        ]
        for each in asked:
            reader.type(each)
        with reader.running(tail) as watching:
            assert watching.stdout is not None
            assert "purchases" in watching.stdout.readline()


def wait_for_rows(reader: Reader, question: str) -> list[list[object]]:
    """Ask README's question until every event is in the answer: country and count of each row."""
    deadline = time.monotonic() + COMMAND_SECONDS_MAX
    while True:
        rows = json.loads(reader.type(question))["rows"]
        counted: dict[str, int] = {}
        for _, country, count, _ in rows:
            counted[country] = counted.get(country, 0) + count
        if sum(counted.values()) >= 100 or time.monotonic() > deadline:
            return [[country, count] for country, count in counted.items()]
        time.sleep(0.2)


def test_the_manual_can_be_typed_from_top_to_bottom(reader: Reader) -> None:
    *before, worker = typed("docs/operations.md")
    assert [each.split()[1] for each in before] == ["check", "topics"]
    assert "worker" in worker

    for each in before:
        reader.type(each)
    with reader.running(worker):
        reader.wait_until_ready()
