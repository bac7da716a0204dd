"""Owns the way from record values to columns of events; it must not know what events are used for.

A record value is NDJSON, and one bad line spoils only itself. Lines are decoded by a `map` in C,
so a good batch costs no Python per event; behind a line that fails, the same `map` goes on. There
is no other path for bad batches, so neither the packing of events into records nor the lines
beside an event can change what becomes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from analytics.core.definitions.paths import FieldPath
from analytics.core.events import timestamps
from analytics.core.events.columns import Columns
from analytics.core.events.diagnosis import bad_timestamp, diagnose, future_timestamp
from analytics.core.events.lines import Places, blocks, body, is_blank
from analytics.core.events.reasons import Refusal
from analytics.core.events.screening import screen
from analytics.core.events.shape import Event, Shape

# What the decoder raises about its input; ValidationError is a DecodeError.
_REFUSALS: Final = (msgspec.DecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class EventLimits:
    """How large an event may be, and how far ahead of the clock."""

    event_bytes_max: int = 262_144
    future_ms_max: int = 300_000


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is no event: where it stood, its bytes without the line feed, and why."""

    record: int
    """Index into the values that were decoded."""
    line: int
    """Index of the line in its record; every line feed ends a line, also that of a blank one."""
    raw: bytes
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """The two parts of a batch: every line that is not blank is in exactly one of them."""

    columns: Columns
    rejected: list[Rejected]
    """In log order."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the lines of a batch turned out to be; filled while they are read."""

    events: list[Event] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Bytes of each line."""
    failed: dict[int, Refusal | None] = field(default_factory=dict)
    """Why a line is no event, by its number in the batch; a blank line is none for no reason."""


class EventCodec:
    """Decodes the events that one set of metrics reads.

    Built once for a catalog, used for every batch; it keeps no state between batches.
    """

    __slots__ = ("_decode", "_limits", "_shape")

    def __init__(self, fields: frozenset[FieldPath], limits: EventLimits) -> None:
        """`fields` are the paths that columns will be asked for, besides the four scalar ones.

        Raises ValueError for a path that no event can have.
        """
        self._shape = Shape(fields)
        self._decode = msgspec.json.Decoder(self._shape.event_type).decode
        self._limits = limits

    def decode(self, values: Sequence[bytes | None], now_ms: int) -> Decoded:
        """Decode the values of consecutive records. Whatever their bytes are, it never raises.

        An event later than `now_ms` (epoch milliseconds) by more than the limit is refused. A value
        that is None or empty holds no lines.
        """
        batch = _Batch()
        ascii_only = all(map(bytes.isascii, filter(None, values)))
        for block in blocks(values):
            self._read(batch, block, ascii_only=ascii_only)
        events, times = self._in_time(batch, now_ms)
        columns = Columns(
            times, partial(_records, values, batch), partial(self._shape.read, events)
        )
        return Decoded(columns, _rejected(values, batch))

    def _read(self, batch: _Batch, block: list[bytes], *, ascii_only: bool) -> None:
        """Add the lines of a block to the batch."""
        sizes = list(map(len, block))
        screened = screen(block, sizes, self._limits.event_bytes_max, ascii_only=ascii_only)
        if screened:
            block = [b"" if index in screened else line for index, line in enumerate(block)]
        first_event, first_line = len(batch.events), len(batch.sizes)
        failures = 0
        remaining = iter(block)
        while True:
            try:
                # An error leaves what was appended before it, and the line at fault is consumed.
                batch.events.extend(map(self._decode, remaining))
            except _REFUSALS as error:
                index = len(batch.events) - first_event + failures
                failures += 1
                line = body(block[index])
                refusal = None if is_blank(line) else diagnose(line, error)
                batch.failed[first_line + index] = screened.get(index, refusal)
            else:
                break
        batch.sizes.extend(sizes)

    def _in_time(self, batch: _Batch, now_ms: int) -> tuple[list[Event], NDArray[np.int64]]:
        """The events whose time can be, with that time; the others are added to those that failed.

        Times are read for the whole batch at once, which is what makes reading them cheap.
        """
        events = batch.events
        times = timestamps.parse([event.timestamp for event in events])
        good = (times >= 0) & (times <= now_ms + self._limits.future_ms_max)
        if good.all():
            return events, times
        lines = np.delete(np.arange(len(batch.sizes)), list(batch.failed))
        for index in np.flatnonzero(~good).tolist():
            sent = events[index].timestamp
            batch.failed[int(lines[index])] = (
                bad_timestamp(sent)
                if times[index] < 0
                else future_timestamp(sent, self._limits.future_ms_max)
            )
        return list(compress(events, good.tolist())), times[good]


def _records(values: Sequence[bytes | None], batch: _Batch) -> NDArray[np.int32]:
    """The record of each line that is an event; few ask for it, so it is worked out on demand."""
    return np.delete(Places(values, batch.sizes).records, list(batch.failed))


def _rejected(values: Sequence[bytes | None], batch: _Batch) -> list[Rejected]:
    if not batch.failed:
        return []
    places = Places(values, batch.sizes)
    rejected = []
    for line, refusal in sorted(batch.failed.items()):
        if refusal is not None:
            record, number, raw = places.find(line)
            rejected.append(Rejected(record, number, raw, refusal.reason, refusal.detail))
    return rejected
