"""Owns the process of one Kafka node in KRaft mode on loopback; must not create topics or data."""

import atexit
import base64
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from analytics.process.child import ChildProcess
from tests.services.kafka.jars import KafkaUnavailable, ensure_jars
from tests.services.ports import steady_port
from tests.services.proxy import Proxy

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 8.0
PROBE_SECONDS = 2.0
HEAP_MAX = "-Xmx512m"

# A test broker lives for seconds: the quick compiler and the simplest collector start it soonest.
JVM_OPTIONS = (HEAP_MAX, "-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

SETTINGS = """\
node.id=1
process.roles=broker,controller
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={advertised}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocols}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={directory}/logs
# One node holds everything once.
default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Few internal partitions and no waiting for members that never come.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
# A test that kills a member does not have six seconds each time until it is missed.
group.min.session.timeout.ms=1000
num.partitions=8
auto.create.topics.enable=false
message.max.bytes=4194304
replica.fetch.max.bytes=4194304
# Tests write old timestamps on purpose; nothing may expire under them.
log.retention.ms=-1
log.retention.bytes=-1
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.threads=1
# A broker that comes back after a crash waits until its former self is declared dead.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=250
"""

LOGGING = """\
Configuration:
  Appenders:
    Console:
      name: out
      PatternLayout: {pattern: "%d{ABSOLUTE} %p %c{1} %m%n"}
  Loggers:
    Root:
      level: warn
      AppenderRef: {ref: out}
"""


class KafkaServer:
    """One broker with its own data directory, gone with it when stopped.

    `start` blocks until the broker answers a metadata request and raises KafkaUnavailable with the
    end of its log otherwise. After `stop` or `kill`, `start` continues on the same port and data,
    so that a test can let a broker crash and return. `close` also removes the data.

    A client that comes through one of the ``proxies`` stays behind it: the broker advertises the
    proxy on a listener of its own, and itself on `bootstrap`, for those whom no fault may reach.
    """

    def __init__(self, *proxies: Proxy) -> None:
        """Reserve nothing: ports and directory are taken by the first start.

        The broker listens on each proxy's upstream port; the proxies must run by the first start.
        """
        self._proxies = proxies
        self._directory: Path | None = None
        self._child: ChildProcess | None = None
        self._port = 0

    @property
    def bootstrap(self) -> str:
        """The `host:port` that clients connect to, known once started."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs."""
        return None if self._child is None else self._child.pid

    def start(self) -> Self:
        """Start the broker, formatting its storage the first time."""
        classpath = f"{ensure_jars()}/*"
        java = shutil.which("java")
        if java is None:
            raise KafkaUnavailable(
                "Java 17 is needed to run Kafka (Debian: openjdk-17-jre-headless)"
            )
        if self._directory is None:
            self._directory = self._format(java, classpath)
            atexit.register(self.close)
        command = [java, *JVM_OPTIONS, *_logging(self._directory), "-cp", classpath]
        command += ["kafka.Kafka", str(self._directory / "server.properties")]
        self._child = ChildProcess(command, self._directory / "server.log")
        try:
            self._child.start()
            self._wait_until_ready(self._child)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """End the broker in order, within ten seconds; its data stays for another start."""
        if self._child is not None:
            self._child.stop(grace_seconds=STOP_SECONDS_MAX)
            self._child = None

    def kill(self) -> None:
        """End the broker at once, as a crash would; its data stays for another start."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def pause(self) -> None:
        """SIGSTOP: the broker stands still; its connections stay open, and new ones hang."""
        os.kill(self._running_pid(), signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: the broker goes on, and finds that time has passed."""
        os.kill(self._running_pid(), signal.SIGCONT)

    def close(self) -> None:
        """End the broker and remove its data; safe to call twice."""
        # Data that is about to be removed needs no orderly end, which takes seconds.
        self.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
            atexit.unregister(self.close)

    def __enter__(self) -> Self:
        """Start the broker."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the broker."""
        self.close()

    def _format(self, java: str, classpath: str) -> Path:
        """Write the configuration and an empty storage into a new directory; return it."""
        directory = Path(tempfile.mkdtemp(prefix="analytics-kafka-"))
        self._port = steady_port()
        properties = directory / "server.properties"
        properties.write_text(self._settings(directory))
        (directory / "log4j2.yaml").write_text(LOGGING)
        command = [java, *JVM_OPTIONS, *_logging(directory), "-cp", classpath]
        command += ["kafka.tools.StorageTool", "format", "--config", str(properties)]
        # As one word: an id may begin with a dash.
        command += [f"--cluster-id={_cluster_id()}"]
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False
        )
        if run.returncode != 0:
            shutil.rmtree(directory, ignore_errors=True)
            raise KafkaUnavailable(f"Kafka's storage was not formatted:\n{run.stdout}{run.stderr}")
        return directory

    def _settings(self, directory: Path) -> str:
        ports = {"PLAINTEXT": (self._port, self._port)}
        for number, proxy in enumerate(self._proxies):
            ports[f"PROXIED{number}"] = (proxy.upstream_port, proxy.port)
        named = [(f"{name}://127.0.0.1:", *both) for name, both in ports.items()]
        return SETTINGS.format(
            listeners=",".join(f"{prefix}{listens}" for prefix, listens, _ in named),
            advertised=",".join(f"{prefix}{told}" for prefix, _, told in named),
            protocols=",".join(f"{name}:PLAINTEXT" for name in ports),
            controller_port=steady_port(),
            directory=directory,
        )

    def _running_pid(self) -> int:
        if self.pid is None:
            raise RuntimeError("the broker is not running")
        return self.pid

    def _wait_until_ready(self, child: ChildProcess) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        # The client reports every refused connection while it waits; the log tail says more.
        probe = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        while child.exit_code is None and time.monotonic() < deadline:
            try:
                if probe.list_topics(timeout=PROBE_SECONDS).brokers:
                    return
            except KafkaException:
                continue  # not listening yet: the call itself has waited
        raise KafkaUnavailable(
            f"Kafka did not answer on {self.bootstrap} (exit code {child.exit_code}):\n"
            f"{child.log_tail()}"
        )


def _logging(directory: Path) -> list[str]:
    return [f"-Dlog4j2.configurationFile={directory / 'log4j2.yaml'}"]


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
