"""Owns the benchmark `recovery`: how long a worker with an empty disk takes to be there again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from analytics import clock
from benchmarks.dataset import preload
from benchmarks.results import Figures, gather, tell
from benchmarks.sweeps.accounts import BYTES_MIN, Accounts
from benchmarks.sweeps.definitions import by_account
from benchmarks.sweeps.engine import Bench, Load, Point
from benchmarks.sweeps.fleet import Fleet
from benchmarks.sweeps.truth import truths
from tests.services.kafka import KafkaServer

SERIES = (100_000, 1_000_000)
FUNCTIONS = ("count", "sum", "min", "max")

METHOD = """\
A worker reads one event of each series (count, sum, min, max by country and account, one window),
which puts each of them on two changelogs of eight partitions. It is ended, and another is started
in its place that has an empty disk: it reads both changelogs and takes all partitions over. *start*
is from the start of its process until then; *start, nothing there* that of the first worker, which
had nothing to read. The difference is what the rest goes by; an entry is a series, read from both
changelogs and counted once. Then every row is compared with a plain loop over the events.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for on the command line."""

    series: tuple[int, ...]
    repeats: int
    seed: int


def run(plan: Plan, directory: Path) -> tuple[list[Figures], list[Figures]]:
    """Measure; (figures, no profile). Raises WrongResult when an answer is not the truth."""
    with KafkaServer() as kafka:
        return gather(list(_runs(plan, kafka.bootstrap, directory))), []


def _runs(plan: Plan, bootstrap: str, directory: Path) -> Iterator[tuple[str, dict[str, float]]]:
    for series in plan.series:
        load = Load(events=series, framing=100, repeats=plan.repeats, seed=plan.seed)
        definitions = (by_account(series, *FUNCTIONS),)
        dataset = load.dataset(Accounts(series, BYTES_MIN))
        label = f"{series:,} series"
        with Progress(transient=True) as progress:
            preload(bootstrap, dataset, progress)
        true = truths(definitions, dataset.lines())
        for repeat in range(1, plan.repeats + 1):
            place = directory / f"recovery{series}-{repeat}"
            bench = Bench(bootstrap, Point(label, dataset, definitions), true, place)
            measured = _measured(bench, series)
            tell(f"{label}, {repeat} of {plan.repeats}: {json.dumps(measured)}")
            yield label, measured


def _measured(bench: Bench, series: int) -> dict[str, float]:
    with bench.fleet(bench.directory / "first") as fleet:
        empty_s, empty_cpu_s = _started(bench, fleet)
        bench.wait_for_all(fleet)
    with bench.fleet(bench.directory / "again") as fleet:
        took_s, cpu_s = _started(bench, fleet)
        resident = fleet.resident_bytes()
        bench.check(fleet)
    return {
        "start s": took_s,
        "start, nothing there s": empty_s,
        "entries/s": series / (took_s - empty_s),
        "CPU µs/entry": (cpu_s - empty_cpu_s) / series * 1e6,
        "memory after MiB": resident / (1 << 20),
    }


def _started(bench: Bench, fleet: Fleet) -> tuple[float, float]:
    """(seconds, CPU seconds) until a worker that was just started has all partitions."""
    began = clock.monotonic()
    fleet.wait_until_owner(bench.point.dataset.partitions)
    return clock.monotonic() - began, fleet.cpu_seconds()
