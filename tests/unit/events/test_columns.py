"""Tests of columns: how values become numbers and text, and what a selection shares."""

import math

import numpy as np
import pytest

from analytics.core.events.codec import EventCodec, EventLimits
from analytics.core.events.columns import TEXT_CHARS_MAX, Columns
from tests.unit.events.samples import NOW_MS, event

X = ("data", "x")
HUGE = 10**400

NUMBERS = [(1, 1.0), (-2.5, -2.5), (0, 0.0), (2**63, 2.0**63)]
NO_NUMBERS = [None, True, False, "1.5", "", [1], {"a": 1}, HUGE, -HUGE]
TEXTS = [
    ("a", "a"),
    ("", ""),
    ("1", "1"),
    (1, "1"),
    (1.0, "1.0"),
    (1.5, "1.5"),
    (-0.25, "-0.25"),
    (True, "true"),
    (False, "false"),
    (None, ""),
    ([1], ""),
    ({"a": 1}, ""),
    ("é" * 300, "é" * TEXT_CHARS_MAX),
    (HUGE, ("1" + "0" * 400)[:TEXT_CHARS_MAX]),
]


def columns(*values: object) -> Columns:
    return Columns.from_rows(
        [{"timestamp": NOW_MS + i, "data": {"x": value}} for i, value in enumerate(values)]
    )


@pytest.mark.parametrize("value, number", NUMBERS)
def test_a_number_is_read_as_float64(value: object, number: float) -> None:
    assert columns(value, None).numbers(X)[0] == number
    assert columns(value, "text").numbers(X)[0] == number


@pytest.mark.parametrize("value", [*NO_NUMBERS, math.nan, math.inf, -math.inf])
def test_everything_else_is_no_number(value: object) -> None:
    numbers = columns(value, 3, value).numbers(X)
    assert np.isnan(numbers[[0, 2]]).all()
    assert numbers[1] == 3


@pytest.mark.parametrize("value, text", TEXTS)
def test_a_value_is_worded_as_json_words_it(value: object, text: str) -> None:
    assert columns(value).strings(X) == [text]
    assert columns("other", value, None).strings(X) == ["other", text, ""]


def test_the_timestamp_is_a_column_like_any_other() -> None:
    codec = EventCodec(frozenset(), EventLimits())
    decoded = codec.decode([event(timestamp="1970-01-01T00:00:01.5Z"), event(timestamp=7)], NOW_MS)
    assert decoded.columns.raw(("timestamp",)) == [1500, 7]
    assert decoded.columns.numbers(("timestamp",)).tolist() == [1500.0, 7.0]
    assert decoded.columns.strings(("timestamp",)) == ["1500", "7"]
    assert decoded.columns.timestamps.dtype == np.int64


def test_a_selection_has_the_rows_in_the_order_of_its_index() -> None:
    whole = columns("a", 1, None, 2.5)
    taken = whole.take(np.array([3, 0, 1]))
    assert taken.n == 3
    assert taken.timestamps.tolist() == [NOW_MS + 3, NOW_MS, NOW_MS + 1]
    assert taken.records.tolist() == [3, 0, 1]
    assert taken.raw(X) == [2.5, "a", 1]
    assert taken.raw(("timestamp",)) == taken.timestamps.tolist()
    assert taken.numbers(X).tolist()[::2] == [2.5, 1.0]
    assert taken.strings(X) == ["2.5", "a", "1"]
    assert taken.take(np.array([2])).strings(X) == ["1"]
    assert taken.take(np.array([], dtype=np.intp)).n == 0


def test_a_column_is_built_once_and_shared_by_selections() -> None:
    asked: list[tuple[str, ...]] = []

    def read(path: tuple[str, ...]) -> list[object]:
        asked.append(path)
        return ["a", 2]

    whole = Columns(np.array([1, 2]), lambda: np.zeros(2, dtype=np.int32), read)
    for _ in range(2):
        taken = whole.take(np.array([1]))
        assert (taken.strings(X), taken.numbers(X).tolist(), taken.raw(X)) == (["2"], [2.0], [2])
    assert asked == [X]
