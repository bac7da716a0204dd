"""Owns measuring our worker at the points of a sweep; it must not know what is swept."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from analytics import clock
from benchmarks.dataset import PARTITIONS, Content, Dataset, create_topics, pour, preload, purge
from benchmarks.events import ORDERS
from benchmarks.results import Figures, WrongResult, gather, tell
from benchmarks.sweeps.definitions import Definition, whole_range, yaml_of
from benchmarks.sweeps.fleet import Fleet
from benchmarks.sweeps.truth import Truth, check, questions, truths
from tests.services.kafka import KafkaServer

CPU, RATE = "CPU µs/event", "events/s"
LATE = "from half on, CPU µs/event"
BEFORE, AFTER, PEAK = "memory before MiB", "memory after MiB", "peak MiB"
A_ROW = "memory B/series-window"

RUN_SECONDS_MAX = 900.0
#: How often the number of events is asked for; and never so often that it takes a worker more than
#: a twentieth of its time.
ASK_SECONDS, ASK_SHARE = 0.1, 20
#: After it the last flush is over.
SETTLE_SECONDS = 2.0
#: Where the late part of a run begins and ends, and how much of it must have been seen.
LATE_FROM, LATE_TO, LATE_SHARE_MIN = 0.5, 0.95, 0.2
_MIB = 1 << 20

METHOD = """\
The sections from here to the memory of open windows are measured alike. Every run is a new process
with a new consumer group and an empty state, alone in its group, that runs as `analytics worker`
does; the repeats go round by point. A topic of a real Kafka (one node) holds all events before. CPU
is that of the whole process, all threads, user and system, from the moment it has taken its
partitions over until a query shows every event: fetch, decode, fold, flush every 250 ms to the
changelog, RocksDB and `partials`, merge, and the queries, which are asked ten times a second or,
where an answer takes long, so that they take a twentieth of the time. Every row of every metric is
then compared with a plain loop over the same events before a figure counts: count, min, max and the
most frequent values equal, sum and average within 1e-9, p95 within 1 %, distinct values within 5.75
% (five standard errors) and one.
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What the points of a sweep have in common."""

    events: int
    framing: int
    repeats: int
    seed: int

    def dataset(self, content: Content = ORDERS, partitions: int = PARTITIONS) -> Dataset:
        """So many events of some content."""
        return Dataset(self.events, self.framing, self.seed, "none", content, partitions)


@dataclass(frozen=True, slots=True)
class Point:
    """One value of what is swept. The first definition counts every event.

    With `poured` the topic is filled only after the workers have shared the partitions out, which
    several of them need: the first of them would have read it all before the last is there.
    """

    label: str
    dataset: Dataset
    definitions: tuple[Definition, ...]
    workers: int = 1
    poured: bool = False


@dataclass(frozen=True, slots=True)
class Sweep:
    """The points, what of them is shown, and the label of the point that CPU is compared with."""

    points: tuple[Point, ...]
    measures: tuple[str, ...]
    repeats: int
    base: str | None = None

    def run(self, directory: Path) -> tuple[list[Figures], list[Figures]]:
        """Measure; (figures, no profile). Raises WrongResult when an answer is not the truth."""
        runs: list[tuple[str, Mapping[str, float]]] = []
        true = _truths(self.points)
        with KafkaServer() as kafka, Progress(transient=True) as progress:
            for dataset, poured in dict.fromkeys((p.dataset, p.poured) for p in self.points):
                if poured:
                    create_topics(kafka.bootstrap, dataset)
                else:
                    preload(kafka.bootstrap, dataset, progress)
            task = progress.add_task("measure", total=len(self.points) * self.repeats)
            for repeat in range(1, self.repeats + 1):
                measured: dict[str, dict[str, float]] = {}
                for number, point in enumerate(self.points):
                    place = directory / f"point{number}-{repeat}"
                    bench = Bench(kafka.bootstrap, point, true[number], place)
                    measured[point.label] = bench.run()
                    shown = json.dumps(measured[point.label], ensure_ascii=False)
                    tell(f"{point.label}, {repeat} of {self.repeats}: {shown}")
                    progress.advance(task)
                runs += shown_of(measured, self.measures, self.base)
        return gather(runs), []


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of one point, with `directory` for all it leaves behind."""

    bootstrap: str
    point: Point
    truths: Mapping[str, Truth]
    directory: Path

    def run(self) -> dict[str, float]:
        """All measures."""
        dataset = self.point.dataset
        purge(self.bootstrap, f"{dataset.prefix}partials", dataset.partitions)
        records: list[tuple[int, bytes]] = []
        if self.point.poured:
            purge(self.bootstrap, dataset.topic, dataset.partitions)
            records = list(dataset.records())
        with self.fleet(self.directory) as fleet:
            if self.point.poured:
                fleet.wait_until_settled(dataset.partitions)
            else:
                fleet.wait_until_owner(dataset.partitions)
            before, cpu, began = fleet.resident_bytes(), fleet.cpu_seconds(), clock.monotonic()
            if records:
                pour(self.bootstrap, dataset, records)
            samples = self.wait_for_all(fleet)
            total, seconds = fleet.cpu_seconds(), clock.monotonic() - began
            time.sleep(SETTLE_SECONDS)
            after, peak = fleet.resident_bytes(), fleet.peak_bytes()
            self.check(fleet)
        rows = sum(map(len, self.truths.values()))
        measures = {
            CPU: (total - cpu) / dataset.n * 1e6,
            RATE: dataset.n / seconds,
            BEFORE: before / _MIB,
            AFTER: after / _MIB,
            PEAK: peak / _MIB,
            A_ROW: (after - before) / rows,
        }
        late = late_seconds(samples, dataset.n)
        if late is not None:
            measures[LATE] = late * 1e6
        return measures

    def fleet(self, directory: Path) -> Fleet:
        """Workers of the one group that this run has, with all they leave behind in a folder."""
        dataset = self.point.dataset
        settings = {
            "broker": f"kafka://{self.bootstrap}",
            "topic_prefix": dataset.prefix,
            # A group and changelogs of its own: every run begins with the first record.
            "app_id": self.directory.name,
            "partitions": dataset.partitions,
        }
        metrics = yaml_of(self.point.definitions)
        return Fleet(self.point.workers, directory, settings=settings, metrics=metrics)

    def wait_for_all(self, fleet: Fleet) -> list[tuple[int, float]]:
        """(events counted, CPU seconds) of every time they were asked for."""
        n, samples = self.point.dataset.n, list[tuple[int, float]]()
        document = {
            "metrics": [self.point.definitions[0].name],
            "aggregations": ["count"],
            "timeRange": whole_range(),
        }
        deadline = clock.monotonic() + RUN_SECONDS_MAX
        while True:
            asked = clock.monotonic()
            count = sum(row[1] for row in fleet.ask(document)["rows"])
            took = clock.monotonic() - asked
            samples.append((count, fleet.cpu_seconds()))
            if count == n:
                return samples
            if count > n or asked > deadline:
                raise WrongResult(f"{count} events were counted, {n} are there")
            time.sleep(max(ASK_SECONDS, ASK_SHARE * took))

    def check(self, fleet: Fleet) -> None:
        """Raise WrongResult unless every row of every metric is the truth."""
        for definition in self.point.definitions:
            truth = self.truths[definition.name]
            for question in questions(definition, truth):
                check(question, fleet.ask(question.document())["rows"], truth)


def late_seconds(samples: Sequence[tuple[int, float]], n: int) -> float | None:
    """CPU seconds of an event between the half of `n` and nearly all; None for too few samples.

    Both ends lie in the run, because what is counted lags behind what was worked for: from one
    sample to another the lag cancels out, up to the end of a run it does not.
    """
    middle = [each for each in samples if LATE_FROM * n <= each[0] <= LATE_TO * n]
    if not middle or middle[-1][0] - middle[0][0] < LATE_SHARE_MIN * n:
        return None
    (first, before), (last, after) = middle[0], middle[-1]
    return (after - before) / (last - first)


def shown_of(
    measured: Mapping[str, Mapping[str, float]], measures: Sequence[str], base: str | None
) -> Iterator[tuple[str, dict[str, float]]]:
    """Of the points of one repeat what is shown; with `base` also how many times its CPU."""
    for label, of_point in measured.items():
        shown = {name: of_point[name] for name in measures if name in of_point}
        if base is not None and base in measured:
            shown[f"times {base}"] = of_point[CPU] / measured[base][CPU]
        yield label, shown


def _truths(points: Sequence[Point]) -> list[Mapping[str, Truth]]:
    """Of every point; events that are the same to the same metrics are looped over only once."""
    wanted: dict[tuple[Dataset, tuple[Definition, ...]], Mapping[str, Truth]] = {}
    for point in points:
        at = point.dataset, point.definitions
        if at not in wanted:
            tell(f"compute what is true of {point.label}")
            wanted[at] = truths(point.definitions, point.dataset.lines())
    return [wanted[point.dataset, point.definitions] for point in points]
