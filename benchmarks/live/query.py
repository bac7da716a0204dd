"""Owns the benchmark `query`: how long a worker takes to answer while it is fed."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import msgspec

from analytics import clock
from analytics.process.child import ChildProcess
from analytics.topics import Topics
from benchmarks.candidates.asking import Order, Outcome
from benchmarks.candidates.paced import EVENT_BYTES, Pace
from benchmarks.dataset import PARTITIONS
from benchmarks.live.feeding import Feeder
from benchmarks.live.questions import DUMP_ROWS_MAX, QUESTIONS, Asked, Load, check_top, metric
from benchmarks.results import Figures, WrongResult, gather, tell
from benchmarks.spread import percentile
from benchmarks.sweeps.definitions import Definition, yaml_of
from benchmarks.sweeps.truth import Truth, check, questions, truths
from benchmarks.worker import Worker
from tests.services.kafka import KafkaServer
from tests.services.topics import create_topic

SERIES = (10, 1_000, 10_000, 100_000)
PERCENTILES = (50, 95, 99)
LEAD_MS = 3_000
#: Clients start, and get their last answers, in less.
PHASE_SECONDS_MORE = 60
#: After questions as fast as they can be answered a worker may be behind.
CATCH_UP_SECONDS_MAX = 300.0

METHOD = f"""\
One worker, alone in its group, and a producer in a process of its own that sends events of
{EVENT_BYTES} bytes at a steady rate (100 a record, `acks=all`, no key, so that every one of the
eight partitions holds most series), of so many accounts by turns, in another order each time round.
The metric: count, sum, min, max and p95 by country and account (a country has many accounts, an
account one country) in windows of ten seconds. When it has been fed for a minute, clients in a
process of their own ask about the last minute, over connections that they keep open:

- *by country*: count, sum and p95 of the 20 countries in steps of ten seconds;
- *top 100*: the accounts with the greatest sums, over the whole minute;
- *dump*: count, sum and p95 of every account over the whole minute, {DUMP_ROWS_MAX:,} rows at most.

A client asks again as soon as it has its answer, so 32 of them ask as fast as the worker can answer
and each waits for the 31 others; or, where that is said, it asks every second, spread over the
second, as dashboards refresh, and its time begins when the question was due. Each of these lasts
the same time, one after the other. What an answer takes depends on the rows that it is made of: an
account has one for each window and partition in which it had an event. So with n events a second
there are never more than 60 n, however many series there are.

Clients, producer, worker and Kafka share one machine. Afterwards every row of the metric is
compared with a plain loop over the events, and *top 100* over all of them as well; otherwise there
is no figure.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for on the command line; `warmup` seconds pass before the first question."""

    series: tuple[int, ...]
    rate: int
    warmup: int
    seconds: int
    repeats: int
    seed: int

    def phases(self) -> Iterator[tuple[Asked, Load]]:
        """Each question of each load."""
        for asked in QUESTIONS:
            for load in asked.loads:
                yield asked, load

    @property
    def fed_seconds_max(self) -> int:
        """How long events may have to come."""
        return self.warmup + len(list(self.phases())) * (self.seconds + PHASE_SECONDS_MORE)


def run(plan: Plan, directory: Path) -> tuple[list[Figures], list[Figures]]:
    """Measure; (figures, no profile). Raises WrongResult when an answer is not the truth."""
    runs: list[tuple[str, Mapping[str, float]]] = []
    with KafkaServer() as kafka:
        for repeat in range(1, plan.repeats + 1):
            for series in plan.series:
                label = f"{series:,} series"
                tell(f"{label}, {repeat} of {plan.repeats}")
                place = directory / f"s{series}-{repeat}"
                trial = Trial(plan, series, kafka.bootstrap, place)
                runs += [(f"{label}, {name}", measures) for name, measures in trial.run()]
    return gather(runs), []


@dataclass(frozen=True, slots=True)
class Trial:
    """One run with topics of its own, named like `directory`."""

    plan: Plan
    series: int
    bootstrap: str
    directory: Path

    def run(self) -> list[tuple[str, dict[str, float]]]:
        """(question, measures) of every question, the loads side by side."""
        topics = Topics(f"{self.directory.name}-")
        for topic in (topics.events, topics.partials):
            create_topic(self.bootstrap, topic, partitions=PARTITIONS)
        create_topic(self.bootstrap, topics.dead_letters)
        settings = {
            "app_id": "query",
            "broker": f"kafka://{self.bootstrap}",
            "topic_prefix": topics.prefix,
            "partitions": PARTITIONS,
        }
        definition = metric(self.series)
        program = [sys.executable, "-m", "benchmarks.candidates.ours"]
        metrics = yaml_of([definition])
        with Worker(program, self.directory, settings=settings, metrics=metrics) as worker:
            worker.wait_until_owner(PARTITIONS)
            pace = self._pace(topics.events)
            with Feeder(pace, self.directory) as feeder:
                _sleep_until(pace.start_ms + self.plan.warmup * 1000)
                measured = self._ask_all(worker.port)
                sent = feeder.end()
            _check(worker, pace, sent.events, definition)
        return list(measured.items())

    def _ask_all(self, port: int) -> dict[str, dict[str, float]]:
        measured: dict[str, dict[str, float]] = {}
        for number, (asked, load) in enumerate(self.plan.phases()):
            order = Order(
                port=port,
                document=dict(asked.document),
                clients=load.clients,
                every_ms=load.every_ms,
                seconds=self.plan.seconds,
            )
            outcome = _asked(order, self.directory / f"phase{number}.json")
            found = {"answer KB": len(outcome.last) / 1000}
            for percent in PERCENTILES:
                found[f"{load.label} p{percent} ms"] = percentile(outcome.answered_ms, percent)
            if not load.every_ms:
                found[f"{load.label} answers/s"] = len(outcome.answered_ms) / outcome.seconds
            tell(f"{asked.name}, {json.dumps(found)}")
            measured[asked.name] = measured.get(asked.name, {}) | found
        return measured

    def _pace(self, topic: str) -> Pace:
        return Pace(
            bootstrap=self.bootstrap,
            topic=topic,
            start_ms=clock.now_ms() + LEAD_MS,
            rate=self.plan.rate,
            seconds=self.plan.fed_seconds_max,
            framing=100,
            seed=self.plan.seed,
            series=self.series,
        )


def _asked(order: Order, file: Path) -> Outcome:
    file.write_bytes(msgspec.json.encode(order))
    program = [sys.executable, "-m", "benchmarks.candidates.asking", str(file)]
    clients = ChildProcess(program, file.with_suffix(".log"))
    clients.start()
    try:
        deadline = clock.monotonic() + order.seconds + PHASE_SECONDS_MORE
        answers = file.with_suffix(".outcome")
        while not answers.exists():
            if clients.exit_code is not None and not answers.exists():
                raise WrongResult(f"the clients did not finish:\n{clients.log_tail()}")
            if clock.monotonic() > deadline:
                raise WrongResult("the clients were not answered in time")
            time.sleep(0.02)
    finally:
        clients.kill()
    outcome = msgspec.json.decode(answers.read_bytes(), type=Outcome)
    if not outcome.answered_ms or not msgspec.json.decode(outcome.last)["rows"]:
        raise WrongResult(f"no answer to {order.document}")
    return outcome


def _check(worker: Worker, pace: Pace, n: int, definition: Definition) -> None:
    """Raise WrongResult unless the worker counted exactly the `n` events that were sent."""
    window_ms = definition.window_ms
    from_ms = pace.start_ms // window_ms * window_ms
    span = {"from": from_ms, "to": pace.due_ms(n) // window_ms * window_ms + window_ms}
    truth = truths([definition], islice(pace.lines(), n))[definition.name]
    _wait_for_all(worker, n, span)
    for question in questions(definition, truth):
        whole = replace(question, range=span)
        check(whole, worker.ask(whole.document())["rows"], truth)
    _check_top(worker, span, truth)


def _check_top(worker: Worker, span: Mapping[str, int], truth: Truth) -> None:
    (asked,) = (each for each in QUESTIONS if each.name == "top 100")
    check_top(worker.ask({**asked.document, "timeRange": span})["rows"], truth)


def _wait_for_all(worker: Worker, n: int, span: Mapping[str, int]) -> None:
    question = {"metrics": ["amounts"], "aggregations": ["count"], "timeRange": span}
    deadline = clock.monotonic() + CATCH_UP_SECONDS_MAX
    while (count := sum(row[1] for row in worker.ask(question)["rows"])) != n:
        if clock.monotonic() > deadline:
            raise WrongResult(f"{count} events were counted, {n} were sent")
        time.sleep(0.2)


def _sleep_until(due_ms: int) -> None:
    time.sleep(max(0, due_ms - clock.now_ms()) / 1000)
