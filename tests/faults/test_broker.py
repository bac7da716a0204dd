"""Owns the proof that a broker, or the network before it, may fail in any way and costs no event.

The load goes to the broker directly, so that what it acknowledges is certain; where the network is
at fault, it is that of the workers. A worker may end because of it: its supervisor starts it again.
Each fault is counted once it is over, or while it lasts where the workers must go on in spite of
it, and everything sent until then has to arrive.
"""

import copy
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Run, proven
from tests.services.oracle.reporting import REPORTING
from tests.services.ports import steady_port
from tests.services.proxy import Proxy
from tests.services.supervisor import Supervisor
from tests.services.workers import Deployment, WorkerFleet

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(300)]

SEED = 20140323
RATE = 3_000
#: The group's session is 3 s: whoever is not heard of for so long has lost its partitions.
BEYOND_SESSION_SECONDS = 5.0
FRESH_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker of our own with two ways to it that a fault may reach, besides the direct one."""

    server: KafkaServer
    network: Proxy
    #: Of one worker alone.
    cable: Proxy


@dataclass(frozen=True, slots=True)
class Scene:
    """Workers under load."""

    run: Run
    fleet: WorkerFleet


@pytest.fixture(scope="module")
def started(kafka_programs: None) -> Iterator[Broker]:
    """A Kafka that these tests may break; started once."""
    with (
        Proxy(steady_port()) as network,
        Proxy(steady_port()) as cable,
        KafkaServer(network, cable) as server,
    ):
        yield Broker(server, network, cable)


@pytest.fixture
def broker(started: Broker) -> Iterator[Broker]:
    """The broker, whole again after each test, however it ended."""
    yield started
    started.network.heal()
    started.cable.heal()
    if started.server.pid is None:
        started.server.start()
    else:
        started.server.resume()


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose name can be a prefix of topics."""
    return tmp_path_factory.mktemp("broker")


def test_a_broker_that_crashes_and_returns(broker: Broker, directory: Path) -> None:
    """Twice: then the workers have connections and producer ids that outlived a broker."""
    deployment = Deployment(directory, broker.server.bootstrap, FAULT_METRICS, FAULT_SETTINGS)
    with deployment.running(3) as fleet, under_load(deployment, fleet, "broker killed") as run:
        for _ in range(2):
            before = broker.server.pid
            broker.server.kill()
            broker.server.start()
            assert broker.server.pid != before
            run.fired()
            run.wait_fresh(FRESH_SECONDS_MAX)


def test_a_broker_that_stands_still_beyond_the_session(broker: Broker, directory: Path) -> None:
    """It wakes up, and to its clock no worker has been heard of for too long."""
    deployment = Deployment(directory, broker.server.bootstrap, FAULT_METRICS, FAULT_SETTINGS)
    with deployment.running(3) as fleet, under_load(deployment, fleet, "broker paused") as run:
        broker.server.pause()
        time.sleep(1.0)
        acked = run.acked  # what the broker had answered before
        time.sleep(7.0)
        assert run.acked == acked
        broker.server.resume()
        run.fired()
        run.wait_fresh(FRESH_SECONDS_MAX)


def test_a_broker_that_answers_late(broker: Broker, directory: Path) -> None:
    """By 300 to 500 ms. The workers go on meanwhile, and none is taken for dead."""
    proxy = broker.network
    with behind(broker, directory, "broker slow") as scene:
        before = proxy.counts
        proxy.delay(0.4, jitter=0.1, seed=SEED)
        time.sleep(BEYOND_SESSION_SECONDS)
        scene.run.fired()
        scene.run.wait_fresh(FRESH_SECONDS_MAX)
        proxy.heal()
        assert proxy.counts.since(before).delayed > 50


def test_connections_that_are_cut_again_and_again(broker: Broker, directory: Path) -> None:
    """All at once, in the middle of whatever is under way; then each after so many bytes."""
    proxy = broker.network
    with behind(broker, directory, "connections cut") as scene:
        before = proxy.counts
        for _ in range(6):
            time.sleep(0.4)
            if proxy.reset():
                scene.run.fired()
        proxy.reset_after(200_000)
        time.sleep(2.0)
        proxy.heal()
        assert proxy.counts.since(before).resets > 3 * len(scene.fleet.workers)
        scene.run.fired()
        scene.run.wait_fresh(FRESH_SECONDS_MAX)


def test_a_network_that_passes_nothing_beyond_the_session(broker: Broker, directory: Path) -> None:
    """All workers are cut off. What they had sent arrives when it is of use to nobody."""
    proxy = broker.network
    with behind(broker, directory, "network dead") as scene:
        before = proxy.counts
        proxy.black_hole()
        time.sleep(BEYOND_SESSION_SECONDS)
        proxy.heal()
        assert proxy.counts.since(before).swallowed_bytes > 0
        scene.run.fired()
        scene.run.wait_fresh(FRESH_SECONDS_MAX)


def test_one_worker_that_is_cut_off_beyond_the_session(broker: Broker, directory: Path) -> None:
    """The others take over while it knows of nothing; then its last writes arrive, too late."""
    deployment = Deployment(directory, broker.server.bootstrap, FAULT_METRICS, FAULT_SETTINGS)
    apart = on_the_way(deployment, broker.cable)
    workers = [deployment.worker(), deployment.worker(), apart.worker()]
    with WorkerFleet(workers) as fleet:
        fleet.wait_ready()
        with under_load(deployment, fleet, "one worker cut off") as run:
            before = broker.cable.counts
            broker.cable.black_hole()
            time.sleep(BEYOND_SESSION_SECONDS)
            run.fired()
            run.wait_fresh(FRESH_SECONDS_MAX)
            broker.cable.heal()
            assert broker.cable.counts.since(before).swallowed_bytes > 0
            run.fired()
            run.wait_fresh(FRESH_SECONDS_MAX)


def test_a_network_that_is_too_narrow(broker: Broker, directory: Path) -> None:
    """The workers fall behind, keep what they have, and catch up."""
    proxy = broker.network
    with behind(broker, directory, "network narrow") as scene:
        before = proxy.counts
        proxy.narrow(100_000)
        time.sleep(BEYOND_SESSION_SECONDS)
        proxy.heal()
        assert proxy.counts.since(before).throttled > 50
        scene.run.fired()
        scene.run.wait_fresh(FRESH_SECONDS_MAX)


def test_connections_that_die_without_a_word(broker: Broker, directory: Path) -> None:
    """As when a machine loses its power and another takes over its address."""
    proxy = broker.network
    with behind(broker, directory, "connections stranded") as scene:
        assert proxy.strand() >= len(scene.fleet.workers)
        scene.run.fired()
        scene.run.wait_fresh(FRESH_SECONDS_MAX)


@contextmanager
def behind(broker: Broker, directory: Path, fault: str) -> Iterator[Scene]:
    """Three workers under load that reach the broker through its network."""
    deployment = Deployment(directory, broker.server.bootstrap, FAULT_METRICS, FAULT_SETTINGS)
    proxied = on_the_way(deployment, broker.network)
    with proxied.running(3) as fleet, under_load(deployment, fleet, fault) as run:
        yield Scene(run, fleet)


def on_the_way(deployment: Deployment, proxy: Proxy) -> Deployment:
    """The same deployment, for workers that reach the broker through ``proxy``."""
    proxied = copy.copy(deployment)
    proxied.config = deployment.directory / f"config-{proxy.port}"
    shutil.copytree(deployment.config, proxied.config)
    settings = proxied.config / "analytics.toml"
    settings.write_text(settings.read_text().replace(deployment.bootstrap, proxy.address))
    return proxied


@contextmanager
def under_load(deployment: Deployment, fleet: WorkerFleet, fault: str) -> Iterator[Run]:
    """Send while the body breaks things; in the end all workers are ready and nothing is lost."""
    with Supervisor(fleet) as supervisor:
        with proven(deployment, fleet, fault=fault, seed=SEED, rate=RATE) as run:
            run.warm_up()
            yield run
            supervisor.wait_ready()
        for restart in supervisor.restarts:
            REPORTING.lines.append(f"{fault}: {restart}")
