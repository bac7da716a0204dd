"""Properties of the codec: no batch changes what becomes of a line, and no bytes break it."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from analytics.core.events.codec import Decoded, EventCodec
from analytics.core.events.timestamps import NO_TIME, parse
from tests.unit.events.samples import BAD_LINES, FIELDS, GOOD_LINES, LIMITS, NOW_MS, event

CODEC = EventCodec(FIELDS, LIMITS)
AMOUNT, COUNTRY, DEEP = ("data", "amount"), ("data", "country"), ("data", "a", "b")

Row = tuple[object, ...]
Outcome = tuple[int, int, bytes, str, str]


def rows(decoded: Decoded) -> list[Row]:
    columns = decoded.columns
    paths = (("id",), ("type",), ("source",), AMOUNT, COUNTRY, DEEP)
    return list(zip(columns.timestamps.tolist(), *map(columns.raw, paths), strict=True))


def outcomes(decoded: Decoded) -> list[Outcome]:
    return [(r.record, r.line, r.raw, r.reason, r.detail) for r in decoded.rejected]


def line_by_line(values: Sequence[bytes | None]) -> tuple[list[Row], list[int], list[Outcome]]:
    """What becomes of a batch when each of its lines is decoded by itself."""
    events: list[Row] = []
    records: list[int] = []
    rejected: list[Outcome] = []
    for record, value in enumerate(values):
        for number, line in enumerate((value or b"").split(b"\n")):
            decoded = CODEC.decode([line], NOW_MS)
            events += rows(decoded)
            records += [record] * decoded.columns.n
            rejected += [(record, number, *outcome[2:]) for outcome in outcomes(decoded)]
    return events, records, rejected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
events = st.builds(
    lambda number, members, data: event(id=f"e{number}", **members, data=data),
    st.integers(0, 999),
    st.fixed_dictionaries(
        {}, optional={"type": st.sampled_from(["view", "sale"]), "x": json_values}
    ),
    st.dictionaries(st.sampled_from(["a", "amount", "country", "other"]), json_values, max_size=4)
    | st.builds(lambda inner: {"a": {"b": inner}}, json_values),
)
fragments = st.sampled_from(
    [
        b"{",
        b"}",
        b"{}",
        b'{"a":',
        b'{"a":1}',
        b"[",
        b"]",
        b",",
        b'"',
        b"\\",
        b"\r",
        b" ",
        b"\xc3",
        b"\xa9",
    ]
)
lines = st.one_of(
    events,
    events.map(lambda line: line + b"\r"),
    st.sampled_from([line for line, _, _ in BAD_LINES.values()]),
    st.sampled_from([*GOOD_LINES.values(), b"", b"\r", b" "]),
    st.binary(max_size=20),
    st.lists(fragments | events, max_size=5).map(b"".join),
)
values = st.none() | st.lists(lines, max_size=6).map(b"\n".join)
batches = st.lists(values, max_size=6)


@given(batches)
def test_a_batch_is_decoded_as_its_lines_are_one_by_one(batch: list[bytes | None]) -> None:
    decoded = CODEC.decode(batch, NOW_MS)
    assert (rows(decoded), decoded.columns.records.tolist(), outcomes(decoded)) == line_by_line(
        batch
    )


@given(batches)
def test_every_line_is_accounted_for_exactly_once(batch: list[bytes | None]) -> None:
    decoded = CODEC.decode(batch, NOW_MS)
    physical = [
        (record, number, line)
        for record, value in enumerate(batch)
        for number, line in enumerate((value or b"").split(b"\n"))
        if line.strip(b" \t\r")
    ]
    rejected = [(r.record, r.line, r.raw) for r in decoded.rejected]
    assert rejected == sorted(set(rejected))
    assert set(rejected) <= set(physical)
    assert len(physical) == len(rejected) + decoded.columns.n
    accepted = [
        record for record, number, line in physical if (record, number, line) not in set(rejected)
    ]
    assert decoded.columns.records.tolist() == accepted


@given(st.lists(st.none() | st.binary(max_size=200), max_size=5), st.integers(-(2**70), 2**70))
def test_no_bytes_make_it_raise(batch: list[bytes | None], now_ms: int) -> None:
    CODEC.decode(batch, now_ms)


@given(st.lists(events, min_size=1, max_size=200), st.data())
def test_how_events_are_framed_makes_no_difference(sent: list[bytes], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    framed = [
        b"\n".join(sent[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)
    ]
    whole, parts = CODEC.decode(sent, NOW_MS), CODEC.decode(framed, NOW_MS)
    assert rows(whole) == rows(parts)
    assert whole.columns.n + len(whole.rejected) == len(sent)
    assert whole.columns.strings(COUNTRY) == parts.columns.strings(COUNTRY)
    assert whole.columns.numbers(AMOUNT).tobytes() == parts.columns.numbers(AMOUNT).tobytes()


@given(events, st.integers(0, 400), st.integers(0, 255))
def test_one_changed_byte_spoils_no_other_line(line: bytes, at: int, byte: int) -> None:
    changed = line[: at % len(line)] + bytes([byte]) + line[at % len(line) + 1 :]
    ids = CODEC.decode([event(id="before") + b"\n" + changed + b"\n" + event(id="after")], NOW_MS)
    column = ids.columns.raw(("id",))
    assert column[0] == "before"
    assert column[-1] == "after"


RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def naive(text: str) -> int:
    """Epoch milliseconds as the standard library reads them."""
    match = RFC_3339.fullmatch(text)
    if match is None or (match[4][1:3] > "23") or (match[4][4:] > "59"):
        return NO_TIME
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[4].upper()}")
    except ValueError:
        return NO_TIME
    # The moment at UTC may lie outside datetime's years, so the offset is taken off at the end.
    offset = moment.utcoffset() or timedelta()
    whole = (moment.replace(tzinfo=UTC) - EPOCH - offset) // timedelta(milliseconds=1)
    return whole + int(((match[3] or ".") + "000")[1:4])


digits_like = st.from_regex(
    r"(19|20|99|16)[0-9]{2}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
    r"(\.[0-9]{1,10})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])",
    fullmatch=True,
)
moments = st.datetimes(timezones=st.timezones()).map(datetime.isoformat)


@given(st.lists(digits_like | moments, max_size=30), st.data())
def test_times_are_read_as_the_standard_library_reads_them(
    texts: list[str], data: st.DataObject
) -> None:
    expected = [naive(text) for text in texts]
    assert parse(texts).tolist() == expected
    assert [int(parse([text])[0]) for text in texts] == expected


@given(digits_like, st.integers(0, 40), st.characters() | st.sampled_from("0123456789-+:.TZ "))
def test_one_changed_character_is_judged_as_by_the_standard_library(
    text: str, at: int, character: str
) -> None:
    at %= len(text)
    for changed in (text[:at] + character + text[at + 1 :], text[:at] + text[at + 1 :]):
        # datetime has no year 0, but all that is before 1970 is refused alike.
        times = parse([text, changed, 5]).clip(min=-1).tolist()
        assert times == [max(naive(text), -1), max(naive(changed), -1), 5]
        assert parse([changed]).clip(min=-1).tolist() == times[1:2]
