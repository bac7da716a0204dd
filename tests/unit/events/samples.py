"""Owns the lines that the tests of events are about: good ones, and every kind of bad one."""

import json
from typing import Final

from analytics.core.definitions.paths import parse_path
from analytics.core.events.codec import EventLimits
from analytics.core.events.reasons import Reason

NOW_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""

LEFT_OUT: Final = object()
"""As a member's value: the member is not there."""

FIELDS: Final = frozenset(
    map(parse_path, ("type", "source", "data.country", "data.amount", "data.a.b"))
)
LIMITS: Final = EventLimits(event_bytes_max=6_000, future_ms_max=300_000)


def event(**members: object) -> bytes:
    """One event as a line of JSON, with `members` instead of or besides the usual ones."""
    usual = {
        "id": "5c1f",
        "timestamp": NOW_MS,
        "type": "purchase",
        "source": "web",
        "data": {"country": "DE", "amount": 12.5},
    }
    document = {
        name: value for name, value in {**usual, **members}.items() if value is not LEFT_OUT
    }
    return json.dumps(document, separators=(",", ":")).encode()


def with_json(member: str, value: str) -> bytes:
    """An event in which a member's value is any text, JSON or not."""
    return event(**{member: "@"}).replace(b'"@"', value.encode())


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    """An event that is `levels` deep in all, the event itself counted."""
    return with_json("x", opening * (levels - 1) + closing * (levels - 1))


BAD_LINES: Final[dict[str, tuple[bytes, Reason, str]]] = {
    "text": (b"hello", Reason.INVALID_JSON, "one JSON object"),
    "cut off": (event()[:-1], Reason.INVALID_JSON, "truncated"),
    "an opening brace only": (b"{", Reason.INVALID_JSON, "truncated"),
    "a closing brace too many": (event() + b"}", Reason.INVALID_JSON, "trailing characters"),
    "two events on a line": (event() + event(), Reason.INVALID_JSON, "trailing characters"),
    "two events and a comma": (event() + b"," + event(), Reason.INVALID_JSON, "trailing"),
    "a comma behind the event": (event() + b",", Reason.INVALID_JSON, "trailing characters"),
    "a comma behind the last member": (event()[:-1] + b",}", Reason.INVALID_JSON, "comma"),
    "single quotes": (b"{'id':'a'}", Reason.INVALID_JSON, "malformed"),
    "a comment": (event() + b"//", Reason.INVALID_JSON, "trailing characters"),
    "a byte order mark": (b"\xef\xbb\xbf" + event(), Reason.INVALID_JSON, "malformed"),
    "a form feed before": (b"\x0c" + event(), Reason.INVALID_JSON, "malformed"),
    "a control character in a string": (with_json("x", '"a\tb"'), Reason.INVALID_JSON, "invalid"),
    "an unknown escape": (with_json("x", r'"\q"'), Reason.INVALID_JSON, "escaped"),
    "half a surrogate pair": (with_json("x", r'"\ud800"'), Reason.INVALID_JSON, "truncated"),
    "NaN": (with_json("x", "NaN"), Reason.INVALID_JSON, "malformed"),
    "a leading zero": (with_json("x", "01"), Reason.INVALID_JSON, "number"),
    "only a byte of a character": (
        event(id="\xff").replace(b"\\u00ff", b"\xff"),
        Reason.INVALID_UTF8,
        "\\xff",
    ),
    "Latin-1 in a member nobody reads": (
        event(x="@").replace(b"@", b"\xe9"),
        Reason.INVALID_UTF8,
        "UTF-8",
    ),
    "an encoded surrogate": (
        event(x="@").replace(b"@", b"\xed\xa0\x80"),
        Reason.INVALID_UTF8,
        "UTF-8",
    ),
    "an array": (b"[" + event() + b"]", Reason.NOT_AN_OBJECT, "must be a JSON object, got [{"),
    "a string": (b'"event"', Reason.NOT_AN_OBJECT, 'got "event"'),
    "a number": (b"12", Reason.NOT_AN_OBJECT, "got 12"),
    "null": (b"null", Reason.NOT_AN_OBJECT, "got null"),
    "an empty object": (b"{}", Reason.MISSING_FIELD, "id: "),
    "no id": (event(id=LEFT_OUT), Reason.MISSING_FIELD, "id: "),
    "no timestamp": (event(timestamp=LEFT_OUT), Reason.MISSING_FIELD, "timestamp: "),
    "no type": (event(type=LEFT_OUT), Reason.MISSING_FIELD, "type: "),
    "no source": (event(source=LEFT_OUT), Reason.MISSING_FIELD, "source: "),
    "a numeric id": (event(id=7), Reason.WRONG_TYPE, "id: must be a string, got 7"),
    "a null id": (event(id=None), Reason.WRONG_TYPE, "id: must be a string, got null"),
    "a type that is a list": (
        event(type=["a"]),
        Reason.WRONG_TYPE,
        'type: must be a string, got ["a"]',
    ),
    "a source that is an object": (
        event(source={}),
        Reason.WRONG_TYPE,
        "source: must be a string, got {}",
    ),
    "an empty type": (event(type=""), Reason.EMPTY_TYPE, "type: must not be empty"),
    "an empty id": (event(id=""), Reason.EMPTY_FIELD, "id: must not be empty"),
    "an empty source": (event(source=""), Reason.EMPTY_FIELD, "source: must not be empty"),
    "a long type": (
        event(type="t" * 129),
        Reason.TOO_LONG,
        "type: must have at most 128 characters, not 129",
    ),
    "a long id of wide characters": (event(id="é" * 129), Reason.TOO_LONG, "id: "),
    "null data": (event(data=None), Reason.WRONG_TYPE, "data: must be an object, got null"),
    "data that is a list": (event(data=[1]), Reason.WRONG_TYPE, "data: must be an object, got [1]"),
    "metadata that is text": (
        event(metadata="m"),
        Reason.WRONG_TYPE,
        'metadata: must be an object, got "m"',
    ),
    "a null timestamp": (event(timestamp=None), Reason.WRONG_TYPE, "timestamp: must be RFC 3339"),
    "a boolean timestamp": (event(timestamp=True), Reason.WRONG_TYPE, "got true"),
    "a fractional timestamp": (event(timestamp=1.5), Reason.BAD_TIMESTAMP, "got 1.5"),
    "a timestamp with an exponent": (with_json("timestamp", "1e12"), Reason.BAD_TIMESTAMP, "1e12"),
    "a negative timestamp": (event(timestamp=-1), Reason.BAD_TIMESTAMP, "not before 1970, got -1"),
    "a timestamp before 1970": (
        event(timestamp="1969-12-31T23:59:59Z"),
        Reason.BAD_TIMESTAMP,
        "1969",
    ),
    "a timestamp without offset": (
        event(timestamp="2026-01-01T00:00:00"),
        Reason.BAD_TIMESTAMP,
        "'2026-01-01T00:00:00'",
    ),
    "a day that is not in the month": (
        event(timestamp="2025-02-29T00:00:00Z"),
        Reason.BAD_TIMESTAMP,
        "2025-02-29",
    ),
    "an empty timestamp": (event(timestamp=""), Reason.BAD_TIMESTAMP, "got ''"),
    "milliseconds as text": (event(timestamp=str(NOW_MS)), Reason.BAD_TIMESTAMP, str(NOW_MS)),
    "a timestamp in microseconds": (
        event(timestamp=NOW_MS * 1000),
        Reason.FUTURE_TIMESTAMP,
        "at most 300,000 ms",
    ),
    "a timestamp in nanoseconds": (
        event(timestamp=NOW_MS * 10**6),
        Reason.FUTURE_TIMESTAMP,
        "ahead",
    ),
    "a timestamp beyond int64": (event(timestamp=10**30), Reason.FUTURE_TIMESTAMP, "ahead"),
    "a timestamp far below int64": (event(timestamp=-(10**30)), Reason.BAD_TIMESTAMP, "-1000"),
    "a timestamp just too late": (
        event(timestamp=NOW_MS + 300_001),
        Reason.FUTURE_TIMESTAMP,
        "ahead",
    ),
    "a number beyond float64": (
        with_json("data", '{"amount":1e999}'),
        Reason.NUMBER_OUT_OF_RANGE,
        "data.amount: must be a number of the range of float64, got 1e999",
    ),
    "an integer of 5,000 digits": (
        with_json("data", '{"a":{"b":@}}'.replace("@", "9" * 5_000)),
        Reason.NUMBER_OUT_OF_RANGE,
        "data.a.b: ",
    ),
    "a number beyond float64 in a list": (
        event(data={"country": ["@"]}).replace(b'"@"', b"-1e400"),
        Reason.NUMBER_OUT_OF_RANGE,
        "data.country",
    ),
    "a timestamp of 5,000 digits": (
        with_json("timestamp", "9" * 5_000),
        Reason.NUMBER_OUT_OF_RANGE,
        "timestamp: must be a number of the range of float64, got 999",
    ),
    "a wrong member behind one that is no number": (
        event(data={"a": "@"}, id=1).replace(b'"@"', b"1e999"),
        Reason.WRONG_TYPE,
        "id: must be a string, got 1",
    ),
    "a line over the limit": (
        event(x="a" * 6_000),
        Reason.TOO_LARGE,
        "at most 6,000 bytes, got 6,1",
    ),
    "arrays nested too deeply": (nested(513), Reason.TOO_DEEP, "512"),
    "objects nested too deeply": (
        nested(513, '{"":', "}").replace(b":}", b":0}"),
        Reason.TOO_DEEP,
        "512",
    ),
    "half an array, too deep": (b"[" * 5_999, Reason.TOO_DEEP, "512"),
    "an id that was wrong before it was right": (
        event()[:1] + b'"id":5,' + event()[1:],
        Reason.WRONG_TYPE,
        "$.id",
    ),
}
"""By name: the line, the reason, and a part of the detail."""


GOOD_LINES: Final[dict[str, bytes]] = {
    "only what is required": event(data=LEFT_OUT),
    "the members in another order": b'{"source":"s","type":"t","timestamp":0,"id":"i"}',
    "RFC 3339 with an offset": event(timestamp="2026-01-01T01:00:00.25+01:00"),
    "the epoch itself": event(timestamp=0),
    "as late as is allowed": event(timestamp=NOW_MS + 300_000),
    "128 wide characters": event(id="é" * 128, type="t" * 128, source="😀" * 128),
    "characters that are not ASCII": event(x="@").replace(b"@", "Zürich".encode()),
    "a carriage return": event() + b"\r",
    "blanks around it": b" \t" + event() + b" \t\r",
    "blanks inside it": event().replace(b",", b" , ").replace(b":", b" :\t"),
    "an unused number beyond float64": with_json("x", "1e999"),
    "a member twice": event()[:1] + b'"id":"first",' + event()[1:],
    "a name with an escape": event().replace(b'"id"', rb'"\u0069d"'),
    "512 levels of arrays": nested(512),
    "512 levels of objects": nested(512, '{"":', "}").replace(b":}", b":0}"),
    "brackets in a string": event(x='\\"' + "[{" * 1_000),
    "many arrays beside one another": event(x=[[]] * 1_000),
    "many objects beside one another": event(x=[{}] * 1_000),
    "data.a is a number where data.a.b is asked for": event(data={"a": 5}),
    "data.a is a list where data.a.b is asked for": event(data={"a": [1, "x", None]}),
    "data.a is null where data.a.b is asked for": event(data={"a": None}),
}
