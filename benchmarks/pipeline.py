"""Owns the benchmark `pipeline`: what an event costs from Kafka to a queryable aggregate."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress

from analytics import clock
from analytics.process.child import ChildProcess
from benchmarks import profile
from benchmarks.dataset import PARTITIONS, Dataset, preload, purge
from benchmarks.events import SPAN_MS, START_MS, WINDOW_MS, Cell, Totals, truth
from benchmarks.results import Figures, WrongResult, gather, tell
from benchmarks.rivals import running
from benchmarks.rivals.catalogue import RIVALS, Rival
from benchmarks.rivals.installing import Unavailable
from benchmarks.rivals.method import METHOD_OF_RIVALS
from benchmarks.worker import Worker
from tests.services.kafka import KafkaServer

OURS, STOCK = "ours", "faust"
CANDIDATES = (OURS, STOCK, *RIVALS)

CPU, RATE, IDLE = "CPU µs/event", "events/s", "idle CPU %"
WARM = "second half, CPU µs/event"
IDLE_SECONDS = 5.0
RUN_SECONDS_MAX = 300.0
#: How often the answer is asked for; each time costs the worker about a millisecond.
ASK_SECONDS = 0.1
#: Our sketch promises 1 %; the sum may differ by the order of addition only.
P95_ERROR_MAX, SUM_ERROR_MAX = 0.01, 1e-9

METRICS = f"""\
metrics:
  amounts:
    value: data.amount
    dimensions: [type, {{country: data.country}}]
    aggregations: [count, sum, min, max, p95]
    window: {{size: {WINDOW_MS // 1000}s, grace: 30s}}
"""

METHOD = f"""\
A topic of a real Kafka (one node, 8 partitions) holds all events before anything is measured: 895
to 1,000 bytes of JSON, some 25 fields, RFC 3339 timestamps that rise through one minute, up to two
seconds out of order; 5 types and 20 countries. The job: count, sum, min, max and p95 of `amount`
in windows of ten seconds by type and country, that is 700 rows.

*ours* is the stream worker as `analytics worker` runs it, alone in its group: fetch, decode, fold,
flush every 250 ms to the changelog, RocksDB and `partials`, merge, answer queries. CPU is that of
the whole process, all threads, user and system, from the moment it has taken its partitions over
until a query (asked for ten times a second, which is included) shows every event. Nothing is
subtracted. *idle CPU* is the same worker afterwards, over five seconds without events.

*faust* is a stock Faust agent with a RocksDB table (`benchmarks/candidates/stock.py`), default
settings, from its first event to the acknowledgement of its last changelog record. It does less:
no p95, no expiry of windows, no merge of partitions, no queries. It gets fewer events because it
needs longer for each.

{METHOD_OF_RIVALS}
Every run is a new process with a new consumer group and an empty state; the repeats go round by
candidate. All rows of the answer are compared with an independent recomputation before a figure
counts: count, min and max equal, sum within 1e-9, p95 (where there is one) within 1 % of the exact.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for on the command line."""

    events: int
    long_events: int
    stock_events: int
    framings: tuple[int, ...]
    repeats: int
    seed: int
    compression: str
    names: tuple[str, ...]
    profile: bool
    settings: Mapping[str, object] = field(default_factory=dict)

    def cases(self) -> Iterator["Case"]:
        """Each candidate on each framing."""
        for framing in self.framings:
            for name in self.names:
                dataset = Dataset(self.events_of(name), framing, self.seed, self.compression)
                yield Case(name, dataset, dict(self.settings))

    def events_of(self, name: str) -> int:
        """How many events a candidate gets: the slow ones fewer, those that warm up more."""
        if name in RIVALS:
            size: int = getattr(self, RIVALS[name].size)
            return size
        return self.events if name == OURS else self.stock_events


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate and the events it gets."""

    name: str
    dataset: Dataset
    settings: Mapping[str, object]

    @property
    def label(self) -> str:
        """What tables call it."""
        unit = "event" if self.dataset.framing == 1 else "events"
        return f"{self.name}, {self.dataset.framing} {unit} a record"


def selected(names: str | None) -> tuple[str, ...]:
    """The candidates that a list with commas names, in our order; ValueError for others."""
    if names is None:
        return CANDIDATES
    wanted = {name.strip() for name in names.split(",")}
    if unknown := wanted - set(CANDIDATES):
        raise ValueError(f"no candidate: {', '.join(sorted(unknown))}")
    return tuple(name for name in CANDIDATES if name in wanted)


def install(names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Install what is needed; (the candidates that can run, why by name the others cannot)."""
    left_out: dict[str, str] = {}
    for name in names:
        if name in RIVALS:
            try:
                RIVALS[name].home.install()
            except Unavailable as error:
                left_out[name] = str(error)
                tell(f"{name} is left out: {error}")
    return tuple(name for name in names if name not in left_out), left_out


def run(plan: Plan, directory: Path) -> tuple[list[Figures], list[Figures]]:
    """Measure; (figures, profile). Raises WrongResult when an answer is not the truth."""
    cases = list(plan.cases())
    truths = {case.dataset.n: truth(case.dataset.n, plan.seed) for case in cases}
    runs: list[tuple[str, Mapping[str, float]]] = []
    profiles: list[tuple[str, Mapping[str, float]]] = []
    with KafkaServer() as kafka, Progress(transient=True) as progress:
        for dataset in dict.fromkeys(case.dataset for case in cases):
            preload(kafka.bootstrap, dataset, progress)
        task = progress.add_task("measure", total=len(cases) * plan.repeats)
        for repeat in range(1, plan.repeats + 1):
            for case in cases:
                place = directory / f"{case.name}-{case.dataset.framing}-{repeat}"
                bench = Bench(kafka.bootstrap, case, truths[case.dataset.n], place)
                measures = bench.run()
                runs.append((case.label, measures))
                tell(f"{case.label}, {repeat} of {plan.repeats}: {_shown(measures)}")
                if plan.profile and case.name == OURS:
                    watched = Bench(kafka.bootstrap, case, bench.truth, place / "profile")
                    profiles += watched.profile()
                progress.advance(task)
    return gather(runs), gather(profiles)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of one case, with `directory` for all it leaves behind."""

    bootstrap: str
    case: Case
    truth: Mapping[Cell, Totals]
    directory: Path

    def run(self) -> dict[str, float]:
        """Measure the case's candidate."""
        if self.case.name in RIVALS:
            return self.rival(RIVALS[self.case.name])
        return self.ours() if self.case.name == OURS else self.stock()

    def ours(self) -> dict[str, float]:
        """Measure the product's worker."""
        with self._worker(()) as worker:
            worker.wait_until_owner(PARTITIONS)
            cpu, began = worker.cpu_seconds(), clock.monotonic()
            _wait_for_all(worker, self.case.dataset.n)
            cpu, seconds = worker.cpu_seconds() - cpu, clock.monotonic() - began
            check(our_rows(worker.ask(_every_row())["rows"]), self.truth, with_p95=True)
            return {**self._figures(cpu, seconds), IDLE: _idle_percent(worker)}

    def profile(self) -> list[tuple[str, Mapping[str, float]]]:
        """Measure where the worker's CPU time goes, in a run with stopwatches in it."""
        snapshots = self.directory.with_name(f"{self.directory.name}.jsonl")
        with self._worker((str(snapshots),)) as worker:
            worker.wait_until_owner(PARTITIONS)
            profile.snapshot(worker.pid, snapshots, 1)
            _wait_for_all(worker, self.case.dataset.n)
            profile.snapshot(worker.pid, snapshots, 2)
        dataset = self.case.dataset
        measure = f"{CPU}, {dataset.framing} a record"
        return [
            (part, {measure: seconds / dataset.n * 1e6})
            for part, seconds in profile.shares(snapshots)
        ]

    def stock(self) -> dict[str, float]:
        """Measure the stock Faust agent."""
        self.directory.mkdir(parents=True)
        dataset = self.case.dataset
        arguments = [self.bootstrap, dataset.topic, str(dataset.n), str(self.directory)]
        program = [sys.executable, "-m", "benchmarks.candidates.stock", *arguments]
        child = ChildProcess(program, self.directory / "stock.log")
        child.start()
        try:
            result = json.loads(_content(self.directory / "result.json", child))
        finally:
            child.kill()
        check(stock_rows(result["rows"]), self.truth, with_p95=False)
        return self._figures(result["cpu_seconds"], result["seconds"])

    def rival(self, rival: Rival) -> dict[str, float]:
        """Measure a program that is not the product's."""
        self.directory.mkdir(parents=True)
        dataset = self.case.dataset
        job = [self.bootstrap, dataset.topic, str(dataset.n), str(self.directory)]
        own = (argument.format(framing=dataset.framing) for argument in rival.arguments)
        command = [*rival.home.install(), *job, *own]
        outcome = running.run(command, dataset.n, self.directory)
        if rival.checks == "total":
            check_total(outcome.document, self.truth)
        else:
            rows = our_rows(outcome.document["rows"])
            check(rows, self.truth, with_p95=rival.checks == "rows and p95")
        figures = self._figures(outcome.cpu_seconds, outcome.seconds)
        if outcome.warm_events:
            figures[WARM] = outcome.warm_cpu_seconds / outcome.warm_events * 1e6
        return figures

    def _worker(self, profiling: tuple[str, ...]) -> Worker:
        prefix = self.case.dataset.prefix
        # A group and changelogs of its own: every run begins with the first record.
        app_id = "-".join(self.directory.parts[-2:])
        purge(self.bootstrap, f"{prefix}partials")
        program = [sys.executable, "-m", "benchmarks.candidates.ours", *profiling]
        settings = {
            "broker": f"kafka://{self.bootstrap}",
            "topic_prefix": prefix,
            "app_id": app_id,
            "partitions": PARTITIONS,
            **self.case.settings,
        }
        return Worker(program, self.directory, settings=settings, metrics=METRICS)

    def _figures(self, cpu: float, seconds: float) -> dict[str, float]:
        n = self.case.dataset.n
        return {CPU: cpu / n * 1e6, RATE: n / seconds}


def check(
    found: Mapping[Cell, tuple[float, ...]], expected: Mapping[Cell, Totals], *, with_p95: bool
) -> None:
    """Raise WrongResult unless `found` has (count, sum, min, max, p95?) of every expected cell."""
    if found.keys() != expected.keys():
        missing, extra = len(expected.keys() - found.keys()), len(found.keys() - expected.keys())
        raise WrongResult(f"{missing} rows are missing, {extra} should not be there")
    for cell, true in expected.items():
        count, total, least, most, *p95 = found[cell]
        right = (
            (count, least, most) == (true.count, true.min, true.max)
            and abs(total - true.sum) <= SUM_ERROR_MAX * abs(true.sum)
            and (not with_p95 or abs(p95[0] - true.p95) <= P95_ERROR_MAX * abs(true.p95))
        )
        if not right:
            raise WrongResult(f"{cell}: found {found[cell]}, true is {true}")


def check_total(found: Mapping[str, float], expected: Mapping[Cell, Totals]) -> None:
    """Raise WrongResult unless `found` has the count and the sum of all events."""
    count = sum(true.count for true in expected.values())
    total = sum(true.sum for true in expected.values())
    if found["count"] != count or abs(found["sum"] - total) > SUM_ERROR_MAX * abs(total):
        raise WrongResult(f"found {found}, true are {count} events that sum up to {total}")


def our_rows(rows: Sequence[Sequence[Any]]) -> dict[Cell, tuple[float, ...]]:
    """The rows of a worker's answer by cell."""
    return {Cell(*row[:3]): tuple(row[3:]) for row in rows}


def stock_rows(rows: Mapping[str, Sequence[float]]) -> dict[Cell, tuple[float, ...]]:
    """The table of the stock agent by cell, its partitions merged."""
    merged: dict[Cell, tuple[float, ...]] = {}
    for key, (count, total, least, most) in rows.items():
        start_ms, kind, country, _ = key.split("|")
        cell = Cell(int(start_ms), kind, country)
        held = merged.get(cell, (0, 0.0, least, most))
        merged[cell] = (
            held[0] + count,
            held[1] + total,
            min(held[2], least),
            max(held[3], most),
        )
    return merged


def _every_row() -> dict[str, object]:
    return {
        "metrics": ["amounts"],
        "aggregations": ["count", "sum", "min", "max", "p95"],
        "groupBy": ["type", "country"],
        **_whole_range(),
        "step": f"{WINDOW_MS // 1000}s",
    }


def _whole_range() -> dict[str, object]:
    return {"timeRange": {"from": START_MS, "to": START_MS + SPAN_MS + 2 * WINDOW_MS}}


def _wait_for_all(worker: Worker, n: int) -> None:
    question = {"metrics": ["amounts"], "aggregations": ["count"], **_whole_range()}
    deadline = clock.monotonic() + RUN_SECONDS_MAX
    count = 0
    while count != n:
        if clock.monotonic() > deadline or count > n:
            raise WrongResult(f"{count} events were counted, {n} are there")
        time.sleep(ASK_SECONDS)
        count = sum(row[1] for row in worker.ask(question)["rows"])


def _idle_percent(worker: Worker) -> float:
    time.sleep(1.0)  # the last flush is over
    cpu = worker.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    return (worker.cpu_seconds() - cpu) / IDLE_SECONDS * 100


def _content(file: Path, child: ChildProcess) -> str:
    deadline = clock.monotonic() + RUN_SECONDS_MAX
    while not file.exists():
        if child.exit_code is not None or clock.monotonic() > deadline:
            raise WrongResult(f"the candidate gave no result:\n{child.log_tail()}")
        time.sleep(0.1)
    return file.read_text()


def _shown(measures: Mapping[str, float]) -> str:
    return ", ".join(f"{value:,.2f} {name}" for name, value in measures.items())
