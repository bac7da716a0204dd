"""Owns the proof that neither framing nor compression nor the producer changes a result.

All cases go through one worker: an event names its case in `metadata.case`, by which the metric is
split, so every case has rows of its own in the same partitions.
"""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pytest

from tests.services.asking import Asking
from tests.services.environment import require_program
from tests.services.flights import HOUR_MS, all_events, flights, framed
from tests.services.kafka import KafkaServer
from tests.services.loading import Load, counted, wait_applied, wait_counted
from tests.services.truth import compare, truth
from tests.services.workers import Deployment, WorkerFleet
from tests.services.year import WHOLE_YEAR

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
EVENTS = 5_000
#: What kcat sends: a sample, one event a record.
SAMPLE = 2_000
KEYS = ["source", "origin"]

METRICS = """\
metrics:
  departures:
    where: type == "departure"
    value: data.dep_delay
    dimensions: [{case: metadata.case}, source, {origin: data.origin}]
    aggregations: [count, sum, min, max, p50, p95, p99]
    distinct: data.tailnum
    window: {size: 1h, grace: 30d}
    retention: 400d
"""


@dataclass(frozen=True)
class Case:
    """One way to send the same events."""

    codec: str
    events_a_record: int

    def __str__(self) -> str:
        return f"{self.codec}-{self.events_a_record}"


CASES = [Case(codec, size) for codec in CODECS for size in (1, 500)]


@pytest.fixture(scope="module")
def deployment(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("packings"), kafka.bootstrap, METRICS)


@pytest.fixture(scope="module")
def fleet(deployment: Deployment) -> Iterator[WorkerFleet]:
    """A worker that has folded the events of every case but that of kcat."""
    with deployment.running(1) as workers:
        for case in CASES:
            load = Load(deployment, codec=case.codec)
            load.send(framed(tagged(all_events()[:EVENTS], str(case)), case.events_a_record))
            load.flush()
        wait_applied(deployment, workers)
        wait_counted(workers[0].asking, "departures", len(CASES) * departures(EVENTS))
        yield workers


@pytest.mark.parametrize("case", CASES, ids=str)
def test_codec_and_framing_change_nothing(fleet: WorkerFleet, case: Case) -> None:
    expected = truth(flights().head(EVENTS), KEYS, step_ms=HOUR_MS)
    found = compare(rows_of(fleet[0].asking, str(case)), expected, KEYS)
    assert not found.wrong, str(found)


@pytest.mark.parametrize("codec", CODECS)
def test_what_kcat_sends_counts_like_anything_else(
    fleet: WorkerFleet, deployment: Deployment, codec: str
) -> None:
    kcat = require_program("kcat")
    case = f"kcat-{codec}"
    before = counted(fleet[0].asking, "departures")
    lines = tagged(all_events()[:SAMPLE], case)
    command = [kcat, "-P", "-b", deployment.bootstrap, "-t", deployment.topics.events, "-z", codec]
    subprocess.run(command, input=b"\n".join(lines) + b"\n", timeout=30, check=True)
    wait_applied(deployment, fleet)
    wait_counted(fleet[0].asking, "departures", before + departures(SAMPLE))
    expected = truth(flights().head(SAMPLE), KEYS, step_ms=HOUR_MS)
    found = compare(rows_of(fleet[0].asking, case), expected, KEYS)
    assert not found.wrong, str(found)


def test_nothing_went_wrong_on_the_way(fleet: WorkerFleet) -> None:
    assert fleet[0].errors == []


def departures(events: int) -> int:
    """How many of the first ``events`` are departures."""
    return events - flights().head(events)["dep_delay"].null_count()


def tagged(lines: Sequence[bytes], case: str) -> list[bytes]:
    """The events with their case in the metadata."""
    tail = b',"metadata":{"case":"%s"}}' % case.encode()
    return [line[:-1] + tail for line in lines]


def rows_of(asking: Asking, case: str) -> pl.DataFrame:
    """Every hour of one case."""
    question = {
        "metrics": ["departures"],
        "filters": [{"field": "case", "op": "eq", "value": case}],
        "groupBy": KEYS,
        "timeRange": WHOLE_YEAR,
        "step": "1h",
    }
    return asking.table(question)
