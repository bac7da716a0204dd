"""Tests of the codec: what becomes of a good line, of a bad one, and of the lines around it."""

import pytest

from analytics.core.definitions.paths import FieldPath, parse_path
from analytics.core.events.codec import Decoded, EventCodec, EventLimits, Rejected
from analytics.core.events.reasons import DETAIL_CHARS_MAX, Reason
from tests.unit.events.samples import (
    BAD_LINES,
    FIELDS,
    GOOD_LINES,
    LIMITS,
    NOW_MS,
    event,
)

ID: FieldPath = ("id",)


def decode(*values: bytes | None, limits: EventLimits = LIMITS) -> Decoded:
    return EventCodec(FIELDS, limits).decode(values, NOW_MS)


def ids(decoded: Decoded) -> list[object]:
    return decoded.columns.raw(ID)


@pytest.mark.parametrize("line, reason, detail", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_rejected_alone_with_its_reason(
    line: bytes, reason: Reason, detail: str
) -> None:
    decoded = decode(event(id="a") + b"\n" + line + b"\n" + event(id="b"), event(id="c"))
    assert ids(decoded) == ["a", "b", "c"]
    (rejected,) = decoded.rejected
    assert (rejected.record, rejected.line, rejected.raw) == (0, 1, line)
    assert rejected.reason == reason
    assert detail in rejected.detail
    assert len(rejected.detail) <= DETAIL_CHARS_MAX


@pytest.mark.parametrize("line", GOOD_LINES.values(), ids=GOOD_LINES.keys())
def test_a_good_line_is_an_event(line: bytes) -> None:
    decoded = decode(line)
    assert decoded.rejected == []
    assert decoded.columns.n == 1


def test_an_event_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    line = event(x="")
    line = line.replace(b'"x":""', b'"x":"%s"' % (b"a" * (6_000 - len(line))))
    assert decode(line + b"\n", line).rejected == []
    (rejected,) = decode(line + b"\r\n").rejected
    assert rejected.reason == Reason.TOO_LARGE
    assert rejected.raw == line + b"\r"


def test_the_limit_is_on_the_event_and_not_on_the_record() -> None:
    decoded = decode(b"\n".join([event()] * 1_000))
    assert decoded.columns.n == 1_000


@pytest.mark.parametrize("value", [None, b"", b"\n", b" \r\n\t\n", b" " * 10_000])
def test_a_value_without_events_is_nothing(value: bytes | None) -> None:
    decoded = decode(value, event(), value)
    assert decoded.rejected == []
    assert decoded.columns.records.tolist() == [1]


def test_a_batch_of_no_records_gives_empty_columns() -> None:
    columns = decode().columns
    assert columns.n == 0
    assert columns.records.tolist() == []
    assert columns.numbers(("data", "amount")).tolist() == []
    assert columns.strings(("data", "country")) == []


def test_blank_lines_count_when_a_line_is_located() -> None:
    # 0 blank, 1 event, 2 bad, 3 blank, 4 bad time
    value = b"\n" + event() + b"\nbad\n\r\n" + event(timestamp=-5) + b"\n"
    decoded = decode(None, value)
    assert [(r.record, r.line, r.raw) for r in decoded.rejected] == [
        (1, 2, b"bad"),
        (1, 4, event(timestamp=-5)),
    ]


def test_the_raw_bytes_are_those_of_the_line_without_its_line_feed() -> None:
    (rejected,) = decode(b" \tbad \r\n" + event()).rejected
    assert rejected == Rejected(0, 0, b" \tbad \r", Reason.INVALID_JSON, rejected.detail)


def test_rejected_lines_come_in_log_order_whatever_is_wrong_with_them() -> None:
    late, bad = event(timestamp=NOW_MS * 2), b"bad"
    decoded = decode(late, bad + b"\n" + late, event(), late + b"\n" + event() + b"\n" + bad)
    assert [(r.record, r.line) for r in decoded.rejected] == [
        (0, 0),
        (1, 0),
        (1, 1),
        (3, 0),
        (3, 2),
    ]
    assert decoded.columns.records.tolist() == [2, 3]


def test_an_object_must_not_span_lines() -> None:
    half, rest = event()[:20], event()[20:]
    assert [r.line for r in decode(half + b"\n" + rest).rejected] == [0, 1]
    # One line with two events makes up for it in number, but not otherwise.
    value = b'{"a":1}\n{"b":[{}' + b"\n" + b"{}]}" + event() + b"\n" + event()
    assert decode(value).columns.n == 1


def test_a_broken_character_is_not_completed_by_the_next_record() -> None:
    first, second = event(x="@é").split(b"@")
    line = first + b'"}\xc3'
    decoded = decode(line, b"\xa9" + second, event())
    assert [r.reason for r in decoded.rejected] == [Reason.INVALID_UTF8, Reason.INVALID_UTF8]


def test_values_are_found_at_paths_of_any_depth() -> None:
    paths = {
        text: parse_path(text) for text in ("data.a", "data.a.b", "data.a.b.c.d", "metadata.x-y")
    }
    codec = EventCodec(frozenset(paths.values()), LIMITS)
    line = event(data={"a": {"b": {"c": {"d": 7}}}}, metadata={"x-y": True})
    columns = codec.decode(
        [line, event(data={"a": {"b": 1}}), event(data={"a": "text"})], NOW_MS
    ).columns
    assert columns.raw(paths["data.a"]) == [{"b": {"c": {"d": 7}}}, {"b": 1}, "text"]
    assert columns.raw(paths["data.a.b"]) == [{"c": {"d": 7}}, 1, None]
    assert columns.raw(paths["data.a.b.c.d"]) == [7, None, None]
    assert columns.raw(paths["metadata.x-y"]) == [True, None, None]


def test_a_path_through_a_scalar_never_finds_an_attribute_of_its_python_type() -> None:
    path = parse_path("data.a.title")
    codec = EventCodec(frozenset({path, parse_path("data.a.real")}), LIMITS)
    columns = codec.decode(
        [event(data={"a": "x"}), event(data={"a": 5}), event(data={"a": {"title": "t"}})], NOW_MS
    ).columns
    assert columns.raw(path) == [None, None, "t"]


def test_a_path_that_was_not_asked_for_is_an_error() -> None:
    with pytest.raises(KeyError):
        decode(event()).columns.raw(("data", "other"))


def test_a_path_that_no_event_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="not paths of an event"):
        EventCodec(frozenset({("data",), ("other", "x")}), LIMITS)
