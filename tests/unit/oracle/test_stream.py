"""The events that a seed stands for are the same whenever and however they are computed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from analytics.core.events.codec import EventCodec, EventLimits
from tests.services.oracle.events import BASE, DAY_MS, DIGITS, EventStream, Lines
from tests.services.oracle.expected import expected
from tests.services.oracle.ledger import Ledger
from tests.services.oracle.mishaps import EVENT_BYTES_MAX, KINDS, Mix, Shift
from tests.services.oracle.views import VIEWS

START_MS = 1_700_000_000_000 // 60_000 * 60_000
STREAM = EventStream(3, 3_000, START_MS)
MIXED = replace(STREAM, mix=Mix(poison=0.1, oversized=0.02, repeats=0.1, shifts=(Shift(0.1, -9),)))

both_streams = pytest.mark.parametrize("stream", [STREAM, MIXED], ids=["plain", "mixed"])


def columns(lines: Lines) -> Iterator[list[int]]:
    return (getattr(lines, name).tolist() for name in Lines.__slots__)


@both_streams
def test_records_are_the_same_however_they_are_asked_for(stream: EventStream) -> None:
    whole = list(columns(stream.lines(0, 90)))
    parts = [columns(stream.lines(first, first + 30)) for first in (0, 30, 60)]
    assert [sum(three, []) for three in zip(*parts, strict=True)] == whole


def test_another_seed_makes_other_events() -> None:
    other = replace(STREAM, seed=4).lines(0, 10)
    assert list(columns(other)) != list(columns(STREAM.lines(0, 10)))


@both_streams
def test_a_record_holds_the_lines_it_should_and_knows_its_number(stream: EventStream) -> None:
    lines = stream.lines(40, 60)
    records = dict(stream.values(lines))
    assert list(records) == list(range(40, 60))
    for number, value in records.items():
        assert stream.record_of(value) == number
        assert value.count(b"\n") + 1 == np.count_nonzero(lines.record == number)


def test_event_time_runs_ten_times_faster_than_the_clock_and_nearly_in_order() -> None:
    times = STREAM.lines(0, 600).time_ms
    assert times[0] - START_MS < 500
    assert times[-1] - times[0] == pytest.approx(40_000, abs=500)
    assert (np.maximum.accumulate(times) - times).max() < 500


def test_a_few_sources_have_most_of_the_events_and_a_hot_one_more() -> None:
    shares = [
        np.bincount(stream.lines(0, 500).source, minlength=24) / 10_000
        for stream in (STREAM, replace(STREAM, mix=Mix(hot=0.5)))
    ]
    assert shares[0][0] > 3 * shares[0][7] > 3 * shares[0][20] > 0
    assert shares[1][0] == pytest.approx(0.5 + shares[0][0] / 2, abs=0.05)


def test_the_sum_of_a_block_has_a_digit_for_each_event_and_is_exact() -> None:
    digits = STREAM.lines(0, 4).digit[:DIGITS]
    assert digits.tolist() == [BASE**place for place in range(DIGITS)]
    assert float(digits.sum()) * (BASE - 1) < 2**53


def test_repeats_are_whole_events_sent_again_to_their_partition() -> None:
    lines = replace(STREAM, mix=Mix(repeats=0.1, repeat_after_rounds=3)).lines(0, 200)
    again = lines.again
    assert again.sum() > 100
    assert (lines.record[again] - lines.number[again] // 20 == 3 * 8).all()
    first = dict(zip(lines.number[~again], lines.time_ms[~again], strict=True))
    assert all(
        first[n] == t for n, t in zip(lines.number[again], lines.time_ms[again], strict=True)
    )


def test_the_codec_refuses_every_bad_line_for_the_reason_it_is_said_to_have() -> None:
    """And everything that is meant to be an event is one."""
    stream = replace(MIXED, mix=replace(MIXED.mix, shifts=(Shift(0.05, 25 * 3_600_000),)))
    lines = stream.lines(0, 200)
    codec = EventCodec(frozenset(), EventLimits(EVENT_BYTES_MAX))
    values = [value for _, value in stream.values(lines)]
    decoded = codec.decode(values, START_MS + DAY_MS)
    ledger = np.stack((np.arange(200), np.arange(200) % 8, np.arange(200)), axis=1)
    truth = expected(stream, ledger, VIEWS)
    assert {letter.reason for letter in truth.letters} == {
        *(str(kind.reason) for kind in KINDS),
        "future_timestamp",
    }
    assert sorted((one.record, one.line, one.reason) for one in decoded.rejected) == sorted(
        (letter.offset, letter.place, letter.reason) for letter in truth.letters
    )
    assert decoded.columns.n == truth.acked - truth.refused


def test_events_are_json_that_says_what_the_columns_say() -> None:
    lines = STREAM.lines(7, 8)
    ((_, value),) = STREAM.values(lines)
    event = orjson.loads(value.split(b"\n")[3])
    assert event["id"] == "3-143"
    assert event["timestamp"] == lines.time_ms[3]
    assert event["data"] | {"user": None} == {
        "n": 143,
        "value": lines.value[3],
        "user": None,
        "block": f"b{143 // DIGITS}",
        "digit": BASE ** (143 % DIGITS),
    }


def test_the_ledger_gives_back_what_was_acknowledged_by_partition_and_offset(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "acknowledged")
    for entry in ((9, 1, 5), (1, 1, 4), (8, 0, 7)):
        ledger.write(*entry)
    assert ledger.read().tolist() == [[8, 0, 7], [1, 1, 4], [9, 1, 5]]
    ledger.close()


def test_of_records_that_were_not_acknowledged_nothing_is_expected() -> None:
    ledger = np.array([[0, 0, 0], [1, 1, 0], [9, 1, 1]])
    truth = expected(STREAM, ledger, VIEWS)
    assert truth.acked == 60
    assert sorted(truth.events["number"]) == [*range(40), *range(180, 200)]


def test_a_partition_that_is_out_of_order_is_no_truth() -> None:
    with pytest.raises(AssertionError, match="out of order"):
        expected(STREAM, np.array([[0, 0, 3], [8, 0, 2]]), VIEWS)
