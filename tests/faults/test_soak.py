"""Owns the long proof: an hour of every fault in random order, with memory watched.

Two workers are killed, paused, wiped and corrupted. A third is only ever hit by what hits the
broker and the network, so that it lives long enough for a leak to show.
"""

import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from analytics.process.crash import POINTS
from tests.faults.test_broker import on_the_way
from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Mix, Run, proven
from tests.services.ports import steady_port
from tests.services.proxy import Proxy
from tests.services.supervisor import Supervisor
from tests.services.workers import Deployment, Worker, WorkerFleet

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.timeout(4 * 3_600),
]

SEED = 20261124
RATE = 1_600
SOAK_SECONDS = 3_600.0
FAULTS_MIN = 200
EVENTS_MIN = 5_000_000
REST_SECONDS_MAX = 1.0
FRESH_SECONDS_MAX = 120.0
#: The group's session is 3 s.
SHORT_PAUSE_SECONDS, LONG_PAUSE_SECONDS = 1.0, 6.0
#: Windows older than this in event time are forgotten, or memory would have to grow.
RETENTION_MS = 30 * 60_000
#: The last quarter's memory beside the second's.
MEMORY_GROWTH_MAX = 1.10
MIX = Mix(poison=0.001, repeats=0.001)


@dataclass
class Soak:
    """Everything that can be broken."""

    chance: random.Random
    server: KafkaServer
    network: Proxy
    fleet: WorkerFleet
    run: Run
    #: For whoever watches (`pytest -s`): an hour is long.
    tell: Callable[[str], None]
    #: Resident bytes of the worker that is left alone, and of all of them, with the time.
    memory: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def victim(self) -> Worker:
        """Any worker but the first."""
        return self.chance.choice(self.fleet.workers[1:])

    def rest(self, seconds: float) -> None:
        """Let time pass, and note the memory."""
        time.sleep(seconds)
        sizes = [_resident_bytes(worker) for worker in self.fleet]
        if all(sizes):
            self.memory.append((time.monotonic(), sizes[0], sum(sizes)))

    def quarter(self, number: int) -> tuple[float, float]:
        """Median bytes of the first worker, and of all, in a quarter (0 to 3) of the time."""
        first, last = self.memory[0][0], self.memory[-1][0]
        span = (last - first) / 4
        begin = first + number * span
        part = [one for one in self.memory if begin <= one[0] <= begin + span]
        return (
            statistics.median(one[1] for one in part),
            statistics.median(one[2] for one in part),
        )


def kill(soak: Soak) -> None:
    _signal(soak.victim, signal.SIGKILL)


def kill_both(soak: Soak) -> None:
    for worker in soak.fleet.workers[1:]:
        _signal(worker, signal.SIGKILL)


def terminate(soak: Soak) -> None:
    _signal(soak.victim, signal.SIGTERM)


def _signal(worker: Worker, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(worker.pid, number)


def crash_at_a_point(soak: Soak) -> None:
    """A SIGKILL now, and another where the worker comes to the point, if it does."""
    victim = soak.victim
    victim.kill()
    victim.start(f"{soak.chance.choice(sorted(POINTS))}:{soak.chance.randint(1, 4)}")


def pause_shortly(soak: Soak) -> None:
    _pause(soak, SHORT_PAUSE_SECONDS)


def pause_beyond_the_session(soak: Soak) -> None:
    _pause(soak, LONG_PAUSE_SECONDS)


def wipe(soak: Soak) -> None:
    victim = soak.victim
    victim.kill()
    for path in victim.data.rglob("*"):
        if path.is_file() and path.name != "worker.id":
            path.unlink()
    victim.start()


def corrupt(soak: Soak) -> None:
    victim = soak.victim
    victim.kill()
    files = sorted(path for path in victim.data.rglob("*") if _is_database_file(path))
    assert files, "a worker without a database"
    for path in soak.chance.sample(files, min(3, len(files))):
        content = bytearray(path.read_bytes())
        content[soak.chance.choice([at for at, byte in enumerate(content) if byte])] = 0
        path.write_bytes(content)
    victim.start()


def kill_the_broker(soak: Soak) -> None:
    soak.server.kill()
    soak.server.start()


def pause_the_broker(soak: Soak) -> None:
    soak.server.pause()
    soak.rest(LONG_PAUSE_SECONDS)
    soak.server.resume()


def delay_the_network(soak: Soak) -> None:
    soak.network.delay(0.3, jitter=0.1, seed=soak.chance.randrange(1 << 30))
    _let_it_happen(soak, "delayed")


def cut_connections(soak: Soak) -> None:
    cut = 0
    for _ in range(5):
        cut += soak.network.reset()
        soak.rest(0.3)
    assert cut, "there was no connection to cut"


def pass_nothing(soak: Soak) -> None:
    soak.network.black_hole()
    _let_it_happen(soak, "swallowed_bytes")


def _let_it_happen(soak: Soak, what: str) -> None:
    before = soak.network.counts
    soak.rest(LONG_PAUSE_SECONDS)
    happened = getattr(soak.network.counts.since(before), what)
    soak.network.heal()
    assert happened, f"the proxy counted none of {what}"


FAULTS: tuple[Callable[[Soak], None], ...] = (
    *(kill, kill, kill_both, terminate, terminate, crash_at_a_point, crash_at_a_point),
    *(pause_shortly, pause_beyond_the_session, wipe, corrupt),
    *(kill_the_broker, pause_the_broker, delay_the_network, cut_connections, pass_nothing),
)


def test_an_hour_of_random_faults_loses_and_doubles_nothing_and_memory_stays(
    kafka_programs: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    directory = tmp_path_factory.mktemp("soak")
    with Proxy(steady_port()) as network, KafkaServer(network) as server:
        metrics = FAULT_METRICS.replace("retention: 30d", f"retention: {RETENTION_MS // 60_000}m")
        deployment = Deployment(directory, server.bootstrap, metrics, FAULT_SETTINGS)
        with (
            on_the_way(deployment, network).running(3) as fleet,
            Supervisor(fleet, restarts_max=1_000) as supervisor,
            proven(
                deployment,
                fleet,
                fault="an hour of random faults",
                seed=SEED,
                rate=RATE,
                mix=MIX,
                retention_ms=RETENTION_MS,
            ) as run,
        ):
            tell = request.config.get_terminal_writer().line
            soak = Soak(random.Random(SEED), server, network, fleet, run, tell)
            run.warm_up()
            left_alone = fleet[0].pid
            _break_things(soak)
            supervisor.wait_ready()
            assert fleet[0].pid == left_alone, "the worker whose memory is watched began anew"
            _judge_memory(soak)


def _break_things(soak: Soak) -> None:
    until = time.monotonic() + SOAK_SECONDS
    run = soak.run
    while time.monotonic() < until or run.fired_times < FAULTS_MIN or run.acked < EVENTS_MIN:
        fault = soak.chance.choice(FAULTS)
        soak.tell(f"{run.fired_times + 1} {fault.__name__} ...")
        fault(soak)
        run.fired()
        seconds = run.wait_fresh(FRESH_SECONDS_MAX)
        soak.tell(f"{run.fired_times} {fault.__name__}: fresh after {seconds:.1f} s")
        assert not (run.seen.excesses or run.seen.early), run.seen.evidence
        soak.rest(soak.chance.uniform(0.0, REST_SECONDS_MAX))


def _judge_memory(soak: Soak) -> None:
    (one_before, all_before), (one_after, all_after) = soak.quarter(1), soak.quarter(3)
    soak.run.figures["MiB of the worker left alone, 2nd and last quarter"] = (
        f"{one_before / 2**20:.0f}, {one_after / 2**20:.0f}"
    )
    assert one_after <= MEMORY_GROWTH_MAX * one_before
    assert all_after <= MEMORY_GROWTH_MAX * all_before


def _pause(soak: Soak, seconds: float) -> None:
    victim = soak.victim
    pid = victim.pid
    os.kill(pid, signal.SIGSTOP)
    soak.rest(seconds)
    os.kill(pid, signal.SIGCONT)


def _is_database_file(path: Path) -> bool:
    kinds = (".sst", ".log")
    return (path.suffix in kinds or path.name.startswith("MANIFEST")) and path.stat().st_size > 0


def _resident_bytes(worker: Worker) -> int:
    """Resident set size of a worker's process, 0 while there is none."""
    try:
        pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1])
    except (OSError, IndexError, AssertionError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE")
