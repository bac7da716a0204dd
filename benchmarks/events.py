"""Owns the seeded events of the benchmarks and the truth about them; it uses no product code.

The truth is a plain loop over what was drawn, so it shares nothing with what it is compared to.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from string import ascii_lowercase
from typing import NamedTuple

EVENT_BYTES_MIN, EVENT_BYTES_MAX = 895, 1000
WINDOW_MS = 10_000
SPAN_MS = 60_000
DISORDER_MS_MAX = 2_000
#: A fixed minute, so that a seed gives the same bytes on every day.
START_MS = 1_767_600_000_000

TYPES = ("purchase", "refund", "view", "search", "login")
# fmt: off
COUNTRIES = (
    "AT", "AU", "BE", "BR", "CA", "CH", "CN", "DE", "DK", "ES",
    "FI", "FR", "GB", "IN", "IT", "JP", "NL", "NO", "PL", "US",
)
# fmt: on
_CENTS_MAX = 50_000
_2_32 = 1 << 32
_NOTES_CHARS = 1 << 16
#: What notes are cut from: random letters, since a repeated one would flatter every compression.
_NOTES = "".join(random.Random(0).choices(ascii_lowercase, k=_NOTES_CHARS + EVENT_BYTES_MAX))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Draw(NamedTuple):
    """What an event says, as far as the benchmarks look at it."""

    timestamp_ms: int
    type: str
    country: str
    cents: int
    size: int


class Cell(NamedTuple):
    """One row of the answer: a window's start and a series."""

    start_ms: int
    type: str
    country: str


@dataclass(frozen=True, slots=True)
class Totals:
    """What is true of the amounts of a cell."""

    count: int
    sum: float
    min: float
    max: float
    p95: float


def draws(n: int, seed: int) -> Iterator[Draw]:
    """`n` events whose times rise through SPAN_MS, each up to DISORDER_MS_MAX behind its place."""
    rng = random.Random(seed)
    for index in range(n):
        behind_ms = rng.randrange(DISORDER_MS_MAX)
        yield Draw(
            timestamp_ms=START_MS + DISORDER_MS_MAX + index * SPAN_MS // n - behind_ms,
            type=rng.choice(TYPES),
            country=rng.choice(COUNTRIES),
            cents=rng.randrange(1, _CENTS_MAX),
            size=rng.randint(EVENT_BYTES_MIN, EVENT_BYTES_MAX),
        )


def line(index: int, draw: Draw, timestamp: str, probe: str = "") -> bytes:
    """The event as JSON of `draw.size` bytes; `timestamp` is the text that stands for its time."""
    head = (
        f'{{"id":"{index:032x}","timestamp":"{timestamp}","type":"{draw.type}",'
        f'"source":"shop-{index % 97}","data":{{"order":"{index:012d}",'
        f'"user":"user-{index * 7919 % 100_003}","session":"{index * 2_654_435_761 % _2_32:08x}",'
        f'"amount":{draw.cents // 100}.{draw.cents % 100:02d},"currency":"EUR",'
        f'"country":"{draw.country}","probe":"{probe}","city":"city-{index % 1009}",'
        f'"quantity":{1 + index % 9},"discount":{index % 30 / 100},"member":true,"coupon":null,'
        f'"category":"category-{index % 41}","product":"product-{index % 4999}",'
        f'"brand":"brand-{index % 211}","warehouse":"w-{index % 17}","carrier":"c-{index % 5}",'
        f'"payment":"card","channel":"web","campaign":"campaign-{index % 61}",'
        f'"latitude":{index % 180 - 90}.25,"longitude":{index % 360 - 180}.75,"note":"'
    )
    tail = '"},"metadata":{"producer":"benchmark","schema":3,"region":"eu-west-1"}}'
    begin = index * 131 % _NOTES_CHARS
    note = _NOTES[begin : begin + draw.size - len(head) - len(tail)]
    return f"{head}{note}{tail}".encode()


def rfc3339(timestamp_ms: int) -> str:
    """The time in UTC with milliseconds."""
    moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{timestamp_ms % 1000:03d}Z"


def lines(n: int, seed: int) -> Iterator[bytes]:
    """The events that `draws` describes, as JSON."""
    for index, draw in enumerate(draws(n, seed)):
        yield line(index, draw, rfc3339(draw.timestamp_ms))


@dataclass(frozen=True, slots=True)
class Orders:
    """The events that `lines` gives, without keys."""

    #: Part of the name of a topic that holds them: these are the ordinary ones.
    name = ""

    def lines(self, n: int, seed: int) -> Iterator[tuple[int | None, bytes]]:
        """(no key, event) of `n` events."""
        for one in lines(n, seed):
            yield None, one


ORDERS = Orders()


def truth(n: int, seed: int) -> dict[Cell, Totals]:
    """The totals of every cell of the events that `lines` gives, windows of WINDOW_MS."""
    amounts: dict[Cell, list[float]] = {}
    for draw in draws(n, seed):
        start_ms = draw.timestamp_ms // WINDOW_MS * WINDOW_MS
        cell = Cell(start_ms, draw.type, draw.country)
        amounts.setdefault(cell, []).append(draw.cents / 100)
    return {cell: _totals(sorted(values)) for cell, values in amounts.items()}


def _totals(amounts: list[float]) -> Totals:
    n = len(amounts)
    p95 = amounts[math.floor(0.95 * (n - 1))]
    return Totals(n, math.fsum(amounts), amounts[0], amounts[-1], p95)
