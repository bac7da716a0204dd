"""Owns the benchmark `freshness`: how long after its timestamp an event shows in a query."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from analytics import clock
from analytics.demo.child import ChildProcess
from benchmarks.candidates.paced import PROBE, PROBE_MS, Pace, Sent
from benchmarks.dataset import PARTITIONS, create_changelogs
from benchmarks.results import Figures, WrongResult, gather, tell
from benchmarks.spread import percentile
from benchmarks.worker import Worker
from tests.services.kafka import KafkaServer
from tests.services.topics import create_topic

POLL_SECONDS = 0.02
LEAD_MS = 3_000
#: Of load before the first probe that counts.
WARMUP_SECONDS = 5
#: The last probe must be seen this long after it was due.
DRAIN_SECONDS_MAX = 30.0
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
1,000 bytes at a steady rate (100 a record, `acks=all`), in the eyes of the worker one each 50 µs at
20,000 events/s. The timestamp of an event is the moment at which it is due by the schedule, so a
producer that falls behind makes its events late instead of hiding it. One event each 50 ms is a
probe, with an id of its own that is a dimension of a metric.

A reader asks `POST /v1/query` for the probes by id, waits 20 ms after each answer and asks again.
A probe's freshness is the time from its timestamp to the moment at which the first answer that
names it has arrived; so it holds the wait for the record to fill, Kafka, folding, the flush (every
250 ms), the way through `partials`, merging, and up to a whole turn of the reader. It is measured
for every single probe, never derived from a watermark. Reader, producer, worker and Kafka share one
machine and its clock. The first five seconds of load do not count.

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
    """Measure. Raises WrongResult when an event is missing or was counted twice."""
    runs: list[tuple[str, Mapping[str, float]]] = []
    with KafkaServer() as kafka:
        for repeat in range(1, plan.repeats + 1):
            prefix = f"run{repeat}-"
            for name, partitions in (("events", PARTITIONS), ("partials", PARTITIONS)):
                create_topic(kafka.bootstrap, prefix + name, partitions=partitions)
            create_topic(kafka.bootstrap, f"{prefix}dead-letters")
            app_id = f"freshness-{repeat}"
            create_changelogs(kafka.bootstrap, app_id)
            settings = {
                "app_id": app_id,
                "broker": f"kafka://{kafka.bootstrap}",
                "topic_prefix": prefix,
                "partitions": PARTITIONS,
            }
            program = [sys.executable, "-m", "benchmarks.candidates.ours"]
            place = directory / str(repeat)
            with Worker(program, place, settings=settings, metrics=METRICS) as worker:
                worker.wait_until_owner(PARTITIONS)
                pace = _pace(plan, kafka.bootstrap, f"{prefix}events")
                tell(f"{plan.rate:,} events/s for {pace.seconds} s, {repeat} of {plan.repeats}")
                runs.append((f"{plan.rate:,} events/s", _measure(worker, pace, place)))
    return gather(runs), []


def _pace(plan: Plan, bootstrap: str, topic: str) -> Pace:
    return Pace(
        bootstrap=bootstrap,
        topic=topic,
        start_ms=clock.now_ms() + LEAD_MS,
        rate=plan.rate,
        seconds=WARMUP_SECONDS + plan.seconds,
        framing=plan.framing,
        seed=plan.seed,
    )


def _measure(worker: Worker, pace: Pace, directory: Path) -> dict[str, float]:
    order = directory / "pace.json"
    order.write_bytes(msgspec.json.encode(pace))
    program = [sys.executable, "-m", "benchmarks.candidates.paced", str(order)]
    producer = ChildProcess(program, directory / "paced.log")
    producer.start()
    try:
        probes = -(-pace.total // pace.probe_every)
        reader = Reader(worker, pace, probes)
        warm_ms = pace.start_ms + WARMUP_SECONDS * 1000
        reader.read(warm_ms)
        reader.answered_ms.clear()
        cpu, began = worker.cpu_seconds(), clock.monotonic()
        reader.read(pace.start_ms + pace.seconds * 1000)
        cpu, seconds = worker.cpu_seconds() - cpu, clock.monotonic() - began
        sent = _sent(order.with_suffix(".sent"), producer)
    finally:
        producer.kill()
    _check(worker, reader, sent)
    first = next(probe for probe in range(probes) if reader.due_ms(probe) >= warm_ms)
    fresh_ms = [reader.seen_ms[probe] - reader.due_ms(probe) for probe in range(first, probes)]
    return {
        "p50 ms": percentile(fresh_ms, 50),
        "p95 ms": percentile(fresh_ms, 95),
        "p99 ms": percentile(fresh_ms, 99),
        "max ms": max(fresh_ms),
        "probes": len(fresh_ms),
        "achieved events/s": sent.acknowledged / sent.seconds,
        "producer behind, max ms": sent.behind_ms_max,
        "worker CPU %": cpu / seconds * 100,
        "answer p50 ms": percentile(reader.answered_ms, 50),
        "answer p95 ms": percentile(reader.answered_ms, 95),
        "answer p99 ms": percentile(reader.answered_ms, 99),
    }


def _sent(file: Path, producer: ChildProcess) -> Sent:
    deadline = clock.monotonic() + DRAIN_SECONDS_MAX
    while not file.exists():
        if producer.exit_code not in (None, 0) or clock.monotonic() > deadline:
            raise WrongResult(f"the producer did not finish:\n{producer.log_tail()}")
        time.sleep(0.05)
    return msgspec.json.decode(file.read_bytes(), type=Sent)


def _check(worker: Worker, reader: Reader, sent: Sent) -> None:
    """Raise WrongResult unless everything acknowledged was counted, and counted once."""
    pace = reader.pace
    if sent.acknowledged != pace.total:
        raise WrongResult(f"Kafka acknowledged {sent.acknowledged} of {pace.total} events")
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
