"""Tests of the demo's events and of the pace at which they are sent."""

import uuid

import msgspec
import orjson
import polars as pl
import pytest

from analytics.configuration import load_configuration
from analytics.core.definitions.catalog import Catalog
from analytics.core.query.functions import functions_of
from analytics.demo.board import board_of
from analytics.demo.flights import LiveFlights, historical, load
from analytics.demo.replay import RECORD_EVENTS_MAX, Pace, shares
from analytics.demo.stage import SAMPLE_CONFIG
from analytics.errors import ConfigError

ROWS = 336_776
NOW_MS = 1_795_478_400_000


class Stamp(msgspec.Struct):
    """What history is judged by; there is too much of it to decode whole."""

    id: str
    timestamp: int


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    return load()


def lines(values: bytes) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in values.split(b"\n")]


def test_history_has_every_flight_once_in_the_order_of_time(flights: pl.DataFrame) -> None:
    events = msgspec.json.Decoder(Stamp).decode_lines(b"\n".join(historical(flights)))

    assert len(events) == ROWS
    assert len({event.id for event in events}) == ROWS
    times = [event.timestamp for event in events]
    assert times == sorted(times)
    # 05:15 in New York on the first of January 2013, and 23:59 on the last of December.
    assert (times[0], times[-1]) == (1_357_035_300_000, 1_388_552_340_000)


def test_history_is_the_same_each_time(flights: pl.DataFrame) -> None:
    few = flights.head(1_000)
    assert list(historical(few)) == list(historical(few))


def test_a_departure_has_its_fields_and_leaves_out_what_is_unknown(flights: pl.DataFrame) -> None:
    events = lines(LiveFlights(flights, seed=1).take(2_000, NOW_MS))

    first = events[0]
    assert uuid.UUID(str(first.pop("id"))).version == 8
    assert first == {
        "timestamp": NOW_MS,
        "type": "departure",
        "source": "UA",
        "data": {
            "origin": "EWR", "dest": "IAH", "tailnum": "N14228", "flight": 1545, "dep_delay": 2,
            "arr_delay": 11, "air_time": 227, "distance": 1400,
        },
    }  # fmt: skip
    cancelled = next(event for event in events if event["type"] == "cancellation")
    assert cancelled["data"] == {
        "origin": "EWR", "dest": "RDU", "tailnum": "N18120", "flight": 4308, "distance": 416,
    }  # fmt: skip


def test_live_flights_begin_anew_with_other_ids(flights: pl.DataFrame) -> None:
    live = LiveFlights(flights.head(10), seed=1)

    events = lines(live.take(25, NOW_MS))

    assert [event["data"] for event in events[:10]] == [event["data"] for event in events[10:20]]
    assert len({event["id"] for event in events}) == 25


def test_two_runs_share_no_ids(flights: pl.DataFrame) -> None:
    runs = [LiveFlights(flights, seed=seed).take(5_000, NOW_MS) for seed in (NOW_MS, NOW_MS + 1)]
    one, other = ({event["id"] for event in lines(run)} for run in runs)
    assert one.isdisjoint(other)


def test_a_pace_adds_up_to_its_rate() -> None:
    pace = Pace(7.5, 100.0)
    ticks = [100.0 + tick / 20 for tick in range(1, 201)]
    assert sum(map(pace.owed, ticks)) == 75


def test_a_pace_does_not_make_up_for_a_long_stop() -> None:
    pace = Pace(1_000, 0.0)
    assert pace.owed(60.0) == 1_000
    assert pace.owed(60.1) == 100


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (3, [1, 1, 1]), (9, [3, 2, 2, 2]), (8, [2, 2, 2, 2])],
)
def test_a_tick_is_shared_evenly_among_partitions(count: int, expected: list[int]) -> None:
    assert shares(count, 4) == expected


def test_a_large_tick_is_cut_into_records_that_fit() -> None:
    parts = shares(100_000, 4)
    assert sum(parts) == 100_000
    assert max(parts) <= RECORD_EVENTS_MAX


def test_the_board_shows_departures_and_its_example_asks_the_same() -> None:
    configuration = load_configuration(SAMPLE_CONFIG, {}, {})
    board = board_of(configuration.catalog, "metrics.yaml")

    assert board.example(None) == (
        "analytics query --metric departures --function p95 --group-by source --last 5m"
    )
    assert board.example("http://h:1").endswith(" --url http://h:1")
    answerable = functions_of(configuration.catalog.by_name["departures"])
    assert set(board.functions) <= set(answerable)


def test_without_metrics_there_is_no_board() -> None:
    with pytest.raises(ConfigError, match="must declare a metric to show"):
        board_of(Catalog(()), "metrics.yaml")
