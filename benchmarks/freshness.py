"""Owns the benchmark `freshness`: how long after its timestamp an event shows in a query."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from analytics import clock
from analytics.topics import Topics
from benchmarks import profile
from benchmarks.candidates.paced import PROBE, PROBE_MS, Pace
from benchmarks.dataset import PARTITIONS
from benchmarks.live.feeding import DRAIN_SECONDS_MAX, Feeder
from benchmarks.results import Figures, WrongResult, gather, tell
from benchmarks.spread import percentile
from benchmarks.worker import Worker
from tests.services.kafka import KafkaServer
from tests.services.topics import create_topic

POLL_SECONDS = 0.02
LEAD_MS = 3_000
#: Of load before the first probe that counts.
WARMUP_SECONDS = 5
PANE_MS = 1_000

METRICS = f"""\
metrics:
  amounts:
    value: data.amount
    dimensions: [type, {{country: data.country}}]
    aggregations: [count, sum, min, max, p95]
    window: {{size: 10s, grace: 30s}}
  probes:
    where: type == "{PROBE}"
    dimensions: [{{id: data.probe}}]
    aggregations: [count]
    window: {{size: {PANE_MS // 1000}s, grace: 30s}}
"""

METHOD = """\
One worker, alone in its group, and a producer in a process of its own that sends events of 895 to
1,000 bytes at a steady rate (100 a record, `acks=all`). The timestamp of an event is the moment at
which it is due by the schedule, so a producer that falls behind makes its events late instead of
hiding it. One event each 50 ms is a probe, with an id of its own that is a dimension of a metric.

A reader asks `POST /v1/query` for the probes by id, waits 20 ms after each answer and asks again.
A probe's freshness is the time from its timestamp to the moment at which the first answer that
names it has arrived; so it holds the wait for the record to fill, Kafka, folding, the flush (every
250 ms), the way through `partials`, merging, and up to a whole turn of the reader. It is measured
for every single probe, never derived from a watermark. Reader, producer, worker and Kafka share one
machine and its clock. The first five seconds of load do not count. A worker that keeps up gets its
events in small batches, so at a rate like this an event costs more CPU than out of a full topic.

Afterwards every probe must have been counted exactly once, and the worker must have counted exactly
the events that Kafka acknowledged; otherwise there is no figure.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for on the command line."""

    rate: int
    seconds: int
    framing: int
    repeats: int
    seed: int
    profile: bool


@dataclass(slots=True)
class Reader:
    """Asks for the probes and notes when each is first seen."""

    worker: Worker
    pace: Pace
    probes: int
    seen_ms: dict[int, int] = field(default_factory=dict)
    answered_ms: list[float] = field(default_factory=list)
    _oldest: int = 0

    def due_ms(self, probe: int) -> int:
        """The timestamp of a probe."""
        return self.pace.due_ms(probe * self.pace.probe_every)

    def fresh_ms(self, since_ms: int) -> list[int]:
        """From its timestamp to its being seen, of each probe due at `since_ms` or later."""
        return [
            self.seen_ms[probe] - due_ms
            for probe in range(self.probes)
            if (due_ms := self.due_ms(probe)) >= since_ms
        ]

    def read(self, until_ms: int) -> None:
        """Ask until all probes due before `until_ms` were seen; WrongResult when some never are."""
        last = min(self.probes, 1 + (until_ms - 1 - self.pace.start_ms) // PROBE_MS)
        while self._oldest < last:
            if clock.now_ms() > until_ms + DRAIN_SECONDS_MAX * 1000:
                raise WrongResult(f"probe {self._oldest} never came")
            self._ask()
            time.sleep(POLL_SECONDS)

    def _ask(self) -> None:
        began = clock.monotonic()
        answer = self.worker.ask(
            _by_probe(self.due_ms(self._oldest), max(clock.now_ms(), self.pace.start_ms) + PANE_MS)
        )
        self.answered_ms.append((clock.monotonic() - began) * 1000)
        now_ms = clock.now_ms()
        for _, probe, _ in answer["rows"]:
            self.seen_ms.setdefault(int(probe), now_ms)
        while self._oldest in self.seen_ms:
            self._oldest += 1


def run(plan: Plan, directory: Path) -> tuple[list[Figures], list[Figures]]:
    """Measure; (figures, profile). Raises WrongResult when an event is missing or counted twice."""
    runs: list[tuple[str, Mapping[str, float]]] = []
    profiles: list[tuple[str, Mapping[str, float]]] = []
    label = f"{plan.rate:,} events/s"
    with KafkaServer() as kafka:
        for repeat in range(1, plan.repeats + 1):
            tell(f"{label} for {WARMUP_SECONDS + plan.seconds} s, {repeat} of {plan.repeats}")
            measured = Trial(plan, kafka.bootstrap, f"run{repeat}", directory / str(repeat)).run()
            runs.append((label, measured))
        if plan.profile:
            tell(f"{label} for {WARMUP_SECONDS + plan.seconds} s, with stopwatches")
            snapshots = directory / "profile.jsonl"
            Trial(plan, kafka.bootstrap, "profile", directory / "profile", snapshots).run()
            profiles += [
                (name, {"CPU %": seconds / plan.seconds * 100})
                for name, seconds in profile.shares(snapshots)
            ]
    return gather(runs), gather(profiles)


@dataclass(frozen=True, slots=True)
class Trial:
    """One run with topics of its own; `snapshots` is where the profile goes, if there is one."""

    plan: Plan
    bootstrap: str
    name: str
    directory: Path
    snapshots: Path | None = None

    def run(self) -> dict[str, float]:
        """Start a worker, put it under load and read."""
        topics = Topics(f"{self.name}-")
        for topic in (topics.events, topics.partials):
            create_topic(self.bootstrap, topic, partitions=PARTITIONS)
        create_topic(self.bootstrap, topics.dead_letters)
        settings = {
            "app_id": f"freshness-{self.name}",
            "broker": f"kafka://{self.bootstrap}",
            "topic_prefix": topics.prefix,
            "partitions": PARTITIONS,
        }
        profiling = [] if self.snapshots is None else [str(self.snapshots)]
        program = [sys.executable, "-m", "benchmarks.candidates.ours", *profiling]
        with Worker(program, self.directory, settings=settings, metrics=METRICS) as worker:
            worker.wait_until_owner(PARTITIONS)
            return self._measure(worker, self._pace(topics.events))

    def _pace(self, topic: str) -> Pace:
        return Pace(
            bootstrap=self.bootstrap,
            topic=topic,
            start_ms=clock.now_ms() + LEAD_MS,
            rate=self.plan.rate,
            seconds=WARMUP_SECONDS + self.plan.seconds,
            framing=self.plan.framing,
            seed=self.plan.seed,
        )

    def _measure(self, worker: Worker, pace: Pace) -> dict[str, float]:
        with Feeder(pace, self.directory) as feeder:
            reader = Reader(worker, pace, -(-pace.total // pace.probe_every))
            warm_ms = pace.start_ms + WARMUP_SECONDS * 1000
            reader.read(warm_ms)
            reader.answered_ms.clear()
            self._snapshot(worker, 1)
            cpu, began = worker.cpu_seconds(), clock.monotonic()
            reader.read(pace.start_ms + pace.seconds * 1000)
            cpu, seconds = worker.cpu_seconds() - cpu, clock.monotonic() - began
            self._snapshot(worker, 2)
            sent = feeder.sent()
        _check(worker, reader)
        fresh_ms = reader.fresh_ms(warm_ms)
        return {
            **{f"fresh p{p} ms": percentile(fresh_ms, p) for p in (50, 95, 99)},
            "fresh max ms": max(fresh_ms),
            "probes": len(fresh_ms),
            "achieved events/s": sent.acknowledged / sent.seconds,
            "producer behind, max ms": sent.behind_ms_max,
            "worker CPU %": cpu / seconds * 100,
            **{f"answer p{p} ms": percentile(reader.answered_ms, p) for p in (50, 95, 99)},
            "answers/s": len(reader.answered_ms) / seconds,
        }

    def _snapshot(self, worker: Worker, number: int) -> None:
        if self.snapshots is not None:
            profile.snapshot(worker.pid, self.snapshots, number)


def _check(worker: Worker, reader: Reader) -> None:
    """Raise WrongResult unless everything acknowledged was counted, and counted once."""
    pace = reader.pace
    from_ms, to_ms = pace.start_ms, pace.start_ms + (pace.seconds + 1) * 1000
    counts = {int(row[1]): row[2] for row in worker.ask(_by_probe(from_ms, to_ms))["rows"]}
    if counts != dict.fromkeys(range(reader.probes), 1):
        raise WrongResult("some probe was not counted exactly once")
    question = {
        "metrics": ["amounts"],
        "aggregations": ["count"],
        "timeRange": {"from": from_ms, "to": to_ms},
    }
    counted = sum(row[1] for row in worker.ask(question)["rows"])
    if counted != pace.total:
        raise WrongResult(f"{counted} of {pace.total} events were counted")


def _by_probe(from_ms: int, to_ms: int) -> dict[str, object]:
    return {
        "metrics": ["probes"],
        "aggregations": ["count"],
        "groupBy": ["id"],
        "timeRange": {"from": from_ms, "to": to_ms},
    }
