"""Owns the events of a test with faults: every one follows from a seed and its number; no I/O.

Event n happens `n * SPEED / rate` seconds after `start_ms`, give or take less than half of what the
workers call disorder; so event time runs `SPEED` times faster than the clock, and windows close
during a test. Records are cut from the numbers in order, and go to the partitions in turn.

A record's lines are never kept: whoever needs them again computes them again, as columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.services.oracle.mishaps import KINDS, MADE_TOO_LARGE, Mix
from tests.services.workers import PARTITIONS

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: How much faster event time runs than the clock, and how far out of order it is at most.
SPEED = 10
JITTER_MS = 500
DAY_MS = 86_400_000

SOURCES = tuple(f"s{number:02}" for number in range(24))
#: Source i is as frequent as 1 / (i + 1) ** ZIPF.
ZIPF = 1.1
TYPES = ("order", "view", "refund")
TYPE_SHARES = (0.3, 0.6, 0.1)
VALUES = 1_000
USERS = 300

#: A block of `DIGITS` events shares one series, in which event i adds BASE ** i: the sum's digit i
#: says how often it was counted. It is exact, for all of it stays below 2 ** 53.
BASE = 8
DIGITS = 16
#: Blocks have their names in turn. They meet again long after their window, so that the workers
#: keep few series however long a test is.
BLOCKS = 4_096

_EVENT = (
    b'{"id":"%d-%d","timestamp":%d,"type":"%s","source":"%s",'
    b'"data":{"n":%d,"value":%d,"user":"u%d","block":"b%d","digit":%d}}'
)


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines as they are sent, by column. ``kind`` 0 is an event, others index `mishaps.KINDS`.

    ``again`` says that the event was sent before.
    """

    record: Integers
    #: Place in the record.
    place: Integers
    number: Integers
    kind: Integers
    again: Flags
    time_ms: Integers
    source: Integers
    type: Integers
    value: Integers
    user: Integers

    def __len__(self) -> int:
        """How many lines."""
        return len(self.record)

    @property
    def partition(self) -> Integers:
        """Where the record of each line goes."""
        return self.record % PARTITIONS

    @property
    def block(self) -> Integers:
        """The series of `ids` that counts each event."""
        return self.number // DIGITS % BLOCKS

    @property
    def digit(self) -> Integers:
        """What each event adds to the sum of that series."""
        return BASE ** (self.number % DIGITS)


@dataclass(frozen=True, slots=True)
class EventStream:
    """The events that a seed stands for, at a nominal rate a second from a moment on."""

    seed: int
    rate: int
    start_ms: int
    events_a_record: int = 20
    mix: Mix = Mix()

    @property
    def future_from_ms(self) -> int:
        """Event times from here on are refused. It lies between what tests send and the limit."""
        return self.start_ms + DAY_MS + 3_600_000

    def lines(self, first_record: int, end_record: int) -> Lines:
        """Every line of these records, in the order they are sent."""
        size = self.events_a_record
        number = np.arange(first_record * size, end_record * size)
        parts = [
            _Part(number, number, np.zeros(len(number), np.int64)),
            *self._bad_lines(number),
            *self._repeats(number),
        ]
        behind, number, kind = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(behind, kind="stable")
        return self._columns(behind[order], number[order], kind[order])

    def values(self, lines: Lines) -> Iterator[tuple[int, bytes]]:
        """Records with their numbers, from the whole of their lines."""
        rendered = list(self._rendered(lines))
        numbers, first = np.unique(lines.record, return_index=True)
        ends = [*first[1:].tolist(), len(rendered)]
        for number, begin, end in zip(numbers.tolist(), first.tolist(), ends, strict=True):
            yield number, b"\n".join(rendered[begin:end])

    def record_of(self, value: bytes) -> int:
        """The number of a record, read from its first line, which is always an event."""
        return int(value.split(b'"', 4)[3].split(b"-")[1]) // self.events_a_record

    def _columns(self, behind: Integers, number: Integers, kind: Integers) -> Lines:
        record = behind // self.events_a_record
        is_first = np.diff(record, prepend=-1) != 0
        begins = np.maximum.accumulate(np.where(is_first, np.arange(len(record)), 0))
        source = np.searchsorted(_ZIPF, self._unit(number, 2), side="right")
        source[self._unit(number, 3) < self.mix.hot] = 0
        return Lines(
            record=record,
            place=np.arange(len(record)) - begins,
            number=number,
            kind=kind,
            again=(behind != number) & (kind == 0),
            time_ms=self._times(number),
            source=source,
            type=np.searchsorted(_TYPES, self._unit(number, 4), side="right"),
            value=self._below(number, 5, VALUES),
            user=self._below(number, 6, USERS),
        )

    def _times(self, number: Integers) -> Integers:
        times = self.start_ms + number * (SPEED * 1_000) // self.rate
        times += self._below(number, 1, JITTER_MS)
        low = 0.0
        for shift in self.mix.shifts:
            drawn = self._unit(number, 7)
            times[(drawn >= low) & (drawn < low + shift.share)] += shift.by_ms
            low += shift.share
        return times

    def _bad_lines(self, number: Integers) -> Iterator["_Part"]:
        if self.mix.poison:
            chosen = number[self._unit(number, 8) < self.mix.poison]
            kind = 1 + self._below(chosen, 9, len(KINDS) - 2)
            yield _Part(chosen, chosen, kind)
        if self.mix.oversized:
            chosen = number[self._unit(number, 10) < self.mix.oversized]
            kind = np.full(len(chosen), MADE_TOO_LARGE)
            yield _Part(chosen, chosen, kind)

    def _repeats(self, number: Integers) -> Iterator["_Part"]:
        if self.mix.repeats:  # to the same partition, after whole rounds of all of them
            lag = self.mix.repeat_after_rounds * PARTITIONS * self.events_a_record
            first = number - lag
            chosen = number[(first >= 0) & (self._unit(first, 11) < self.mix.repeats)]
            yield _Part(chosen, chosen - lag, np.zeros(len(chosen), np.int64))

    def _rendered(self, lines: Lines) -> Iterator[bytes]:
        seed = self.seed
        columns = (
            lines.number, lines.kind, lines.time_ms, lines.type, lines.source,
            lines.value, lines.user, lines.block, lines.digit,
        )  # fmt: skip
        for n, kind, time_ms, type_, source, *data in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            if kind:
                yield KINDS[kind].line(n)
            else:
                names = (TYPES[type_].encode(), SOURCES[source].encode())
                yield _EVENT % (seed, n, time_ms, *names, n, *data)

    def _bits(self, number: Integers, purpose: int) -> NDArray[np.uint64]:
        """Bits that look random: splitmix64 of the number, the seed and what they are for."""
        salt = np.uint64((self.seed * 1_000_003 + purpose) * _GOLDEN & _MASK)
        x = number.astype(np.uint64) * np.uint64(_GOLDEN) + salt
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    def _unit(self, number: Integers, purpose: int) -> NDArray[np.float64]:
        return np.asarray((self._bits(number, purpose) >> np.uint64(11)) * 2.0**-53)

    def _below(self, number: Integers, purpose: int, limit: int) -> Integers:
        return (self._bits(number, purpose) % np.uint64(limit)).astype(np.int64)


class _Part(NamedTuple):
    """Lines of some kind; ``behind`` is the number of the event that they are sent behind."""

    behind: Integers
    number: Integers
    kind: Integers


_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _cumulated(shares: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(np.cumsum(shares)[:-1] / sum(shares))


_ZIPF = _cumulated([1.0 / rank**ZIPF for rank in range(1, len(SOURCES) + 1)])
_TYPES = _cumulated(TYPE_SHARES)
