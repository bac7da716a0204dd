"""Owns what may be wrong with the events of a test, and what must become of it; no I/O.

Nothing here decides whether an event is late: that follows from its time and its place in the log.
"""

from dataclasses import dataclass

from analytics.core.events.reasons import Reason

#: What `FAULT_SETTINGS` says an event may be long.
EVENT_BYTES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no event: the reason of its dead letter, and how it is written."""

    reason: Reason
    template: bytes
    #: How often ``x`` is repeated in the place of `%(x)s`.
    padding: int = 0

    def line(self, number: int) -> bytes:
        """The line with a number that makes it unlike all others."""
        padding = b"x" * self.padding
        return self.template.replace(b"%(n)d", b"%d" % number).replace(b"%(x)s", padding)


_HEAD = b'{"id":"bad-%(n)d","timestamp":1357035300000,"type":"order","source":"s00"'

#: By kind; 0 stands for events, and the last one is made by `Mix.oversized` alone.
KINDS = (
    BadLine(Reason.INVALID_JSON, b""),
    BadLine(Reason.INVALID_JSON, b"this is no JSON, line %(n)d"),
    BadLine(Reason.INVALID_JSON, _HEAD + b',"data":{"value":1'),
    BadLine(Reason.NOT_AN_OBJECT, b"[%(n)d]"),
    BadLine(Reason.MISSING_FIELD, b'{"timestamp":%(n)d,"type":"order","source":"s00"}'),
    BadLine(Reason.WRONG_TYPE, _HEAD + b',"data":[1]}'),
    BadLine(
        Reason.BAD_TIMESTAMP,
        b'{"id":"bad-%(n)d","timestamp":"yesterday","type":"order","source":"s00"}',
    ),
    BadLine(Reason.INVALID_UTF8, _HEAD + b',"data":{"user":"Z\xfcrich"}}'),
    BadLine(Reason.TOO_LARGE, _HEAD + b',"data":{"x":"%(x)s"}}', EVENT_BYTES_MAX),
)
MADE_TOO_LARGE = len(KINDS) - 1


@dataclass(frozen=True, slots=True)
class Shift:
    """A share of the events whose time is ``by_ms`` later, or earlier where that is negative.

    More than a window and its grace earlier they are late; a day and more later, refused.
    """

    share: float
    by_ms: int


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the events that something is the matter with; by default there are none.

    ``poison`` and ``oversized`` put a bad line behind an event. ``repeats`` sends an event again,
    as a client that heard no answer, ``repeat_after_rounds`` records of each partition later;
    ``repeats_count`` says whether the workers are to count it again. ``hot`` is the share of events
    that one source gets beside what it has anyway.
    """

    poison: float = 0.0
    oversized: float = 0.0
    repeats: float = 0.0
    repeat_after_rounds: int = 2
    repeats_count: bool = True
    shifts: tuple[Shift, ...] = ()
    hot: float = 0.0
