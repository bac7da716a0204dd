"""Owns the proof that a year of flights is counted right by three workers on a real Kafka."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest

from tests.services.asking import Asking
from tests.services.flights import (
    DEPARTURES,
    FLIGHTS,
    HOUR_MS,
    METRICS,
    all_events,
    flights,
    framed,
)
from tests.services.kafka import KafkaServer
from tests.services.loading import Load, wait_applied, wait_counted
from tests.services.truth import compare, truth
from tests.services.workers import Deployment, WorkerFleet
from tests.services.year import WHOLE_YEAR, year_by, year_in_one

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

APRIL_MS = 1_364_774_400_000
FIRST_QUARTER = {"from": "2013-01-01T00:00:00Z", "to": "2013-04-01T00:00:00Z"}


@dataclass(frozen=True)
class Packing:
    """How a producer packs events into records."""

    events_a_record: int
    records_a_turn: int
    codec: str


@pytest.fixture(
    scope="module",
    params=[Packing(500, 1, "zstd"), Packing(1, 24, "none")],
    ids=["framed", "single"],
)
def fleet(
    request: pytest.FixtureRequest,
    kafka: KafkaServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WorkerFleet]:
    """Three workers that have been sent all flights of the year and have folded them."""
    packing: Packing = request.param
    directory = tmp_path_factory.mktemp(f"year-by-{packing.events_a_record}")
    deployment = Deployment(directory, kafka.bootstrap, METRICS)
    with deployment.running(3) as workers:
        load = Load(deployment, codec=packing.codec, turn=packing.records_a_turn)
        load.send(framed(all_events(), packing.events_a_record))
        load.flush()
        wait_applied(deployment, workers)
        wait_counted(workers[0].asking, "flights", FLIGHTS)
        wait_counted(workers[0].asking, "departures", DEPARTURES)
        yield workers


def test_every_hour_of_every_carrier_and_airport_is_right(fleet: WorkerFleet) -> None:
    """115,205 rows: exact but for the sketches, which stay within their bounds."""
    keys = ["source", "origin"]
    found = compare(
        year_by("1h", fleet[0].asking, keys), truth(flights(), keys, step_ms=HOUR_MS), keys
    )
    assert found.rows == 115_205
    assert not found.wrong, str(found)


@pytest.mark.parametrize("keys", [["origin"], []], ids=["airport", "all"])
def test_every_hour_is_right_merged_over_the_other_dimensions(
    fleet: WorkerFleet, keys: Sequence[str]
) -> None:
    # Of dozens of aircraft two meet in one of 8,192 registers now and then, and count as one.
    found = compare(
        year_by("1h", fleet[1].asking, keys),
        truth(flights(), keys, step_ms=HOUR_MS),
        keys,
        distinct_slack=4,
    )
    assert not found.wrong, str(found)


@pytest.mark.parametrize("keys", [["source"], ["origin"], []], ids=["carrier", "airport", "all"])
def test_the_whole_year_is_right_in_one_bucket(fleet: WorkerFleet, keys: Sequence[str]) -> None:
    found = compare(year_in_one(fleet[2].asking, keys), truth(flights(), keys, step_ms=None), keys)
    assert not found.wrong, str(found)


def test_every_worker_gives_the_same_answer(fleet: WorkerFleet) -> None:
    """One of them owns the metric; the others pass the question on, filters and all."""
    question = {
        "metrics": ["departures"],
        "filters": [{"field": "source", "op": "in", "value": ["UA", "AA"]}],
        "groupBy": ["origin"],
        "timeRange": FIRST_QUARTER,
        "step": "24h",
    }
    answers = [worker.asking.query(question) for worker in fleet]
    assert len(answers[0]["rows"]) > 250
    for answer in answers[1:]:
        assert _settled(answer) == _settled(answers[0])
    asked = pl.col("source").is_in(["UA", "AA"]) & (pl.col("time_ms") < APRIL_MS)
    expected = truth(flights().filter(asked), ["origin"], step_ms=24 * HOUR_MS)
    names = [column["name"] for column in answers[0]["columns"]]
    counts = [row[names.index("departures.count")] for row in answers[0]["rows"]]
    assert counts == expected["count"].to_list()


def test_a_get_gives_every_worker_s_answer_too(fleet: WorkerFleet) -> None:
    by_document = fleet[0].asking.query(
        {
            "metrics": ["departures"],
            "aggregations": ["count", "p95"],
            "filters": [{"field": "origin", "op": "in", "value": ["JFK"]}],
            "groupBy": ["source"],
            "timeRange": FIRST_QUARTER,
        }
    )
    for worker in fleet:
        assert _settled(_by_parameters(worker.asking)) == _settled(by_document)
    assert by_document["rows"]


def test_a_question_too_long_for_one_packet_reaches_the_owner_whole(fleet: WorkerFleet) -> None:
    """A filter of 200 KB: its bytes arrive in pieces, at each of two workers."""
    nobody = [f"carrier-{number:0200}" for number in range(999)]
    question = {
        "metrics": ["departures"],
        "aggregations": ["count"],
        "filters": [{"field": "source", "op": "in", "value": [*nobody, "UA"]}],
        "timeRange": WHOLE_YEAR,
    }
    united = flights().filter(pl.col("source") == "UA", pl.col("type") == "departure")
    for worker in fleet:
        [[_, count]] = worker.asking.query(question)["rows"]
        assert count == len(united)


def test_nothing_went_wrong_on_the_way(fleet: WorkerFleet) -> None:
    for worker in fleet:
        assert worker.errors == []
        assert (
            worker.asking.query({"metrics": ["flights"], "timeRange": WHOLE_YEAR})["meta"][
                "late_events"
            ]
            == 0
        )


def _by_parameters(asking: Asking) -> dict[str, Any]:
    response = asking.get(
        "/v1/metrics/departures",
        function="count,p95",
        filter="origin=JFK",
        groupBy="source",
        **FIRST_QUARTER,
    )
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _settled(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without what depends on when it was asked: its partitions turn idle meanwhile."""
    passing = {"lag_ms", "took_ms", "data_through", "cached"}
    meta = {key: answer["meta"][key] for key in answer["meta"].keys() - passing}
    buckets = [bucket["timestamp"] for bucket in answer["buckets"]]
    return {**answer, "meta": meta, "buckets": buckets}
