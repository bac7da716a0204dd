"""Owns cutting a stream of NDJSON into the values of records; must not read or send anything."""

from collections.abc import Iterator
from dataclasses import dataclass

#: Kafka's default limit is 1,048,588 bytes for a batch with its headers.
RECORD_BYTES_MAX = 900_000


@dataclass(frozen=True, slots=True)
class Frame:
    """The value of one record: `lines` events joined by newlines."""

    value: bytes
    lines: int


@dataclass(frozen=True, slots=True)
class Oversized:
    """A line that fits no record: its number in the stream, from 1, and its size."""

    line: int
    size_bytes: int

    def __str__(self) -> str:
        return (
            f"line {self.line}: {self.size_bytes:,} bytes, "
            f"more than the {RECORD_BYTES_MAX:,} that a record may have"
        )


class Framer:
    """Cuts blocks of bytes, wherever they begin and end, into frames of whole lines.

    Blank lines are left out. A line longer than a record is dropped without ever being held whole
    and noted in `oversized`, which the caller empties.
    """

    def __init__(self, lines_max: int) -> None:
        self._lines_max = lines_max
        self._line_number = 0
        self._tail = b""  # the beginning of a line whose end is still to come
        self._dropped_bytes = 0  # of that line, when it is longer than a record
        self._lines: list[bytes] = []
        self._bytes = 0
        self.oversized: list[Oversized] = []

    def feed(self, block: bytes) -> Iterator[Frame]:
        """The frames that this block completes."""
        *whole, self._tail = (self._tail + block).split(b"\n")
        for line in whole:
            yield from self._take(line)
        if self._dropped_bytes or len(self._tail) > RECORD_BYTES_MAX:
            self._dropped_bytes += len(self._tail)
            self._tail = b""

    def flush(self) -> Iterator[Frame]:
        """The frame begun by whole lines, if any: the source pauses and nobody should wait."""
        if self._lines:
            yield Frame(b"\n".join(self._lines), len(self._lines))
            self._lines, self._bytes = [], 0

    def finish(self) -> Iterator[Frame]:
        """What is left at the end of the stream, whose last line may lack its newline."""
        last, self._tail = self._tail, b""
        yield from self._take(last)
        yield from self.flush()

    def _take(self, raw: bytes) -> Iterator[Frame]:
        self._line_number += 1
        line = raw.strip()
        size = self._dropped_bytes + len(line)
        if size > RECORD_BYTES_MAX:
            self._dropped_bytes = 0
            self.oversized.append(Oversized(self._line_number, size))
            return
        if not line:
            return
        if self._bytes + len(line) > RECORD_BYTES_MAX:
            yield from self.flush()
        self._lines.append(line)
        self._bytes += len(line) + 1
        if len(self._lines) == self._lines_max:
            yield from self.flush()
