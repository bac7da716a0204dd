"""Owns the tests of what conditions mean, one row of events for each rule."""

import pytest

from analytics.core.definitions.filtering import mask
from analytics.core.definitions.where import parse
from analytics.core.events.columns import Columns

MISSING = object()


def holds(condition: str, *values: object) -> list[bool]:
    """Whether the condition holds for events with these values of `data.a`."""
    rows = [
        {"timestamp": 1_000 * n, "type": "x", "data": {} if value is MISSING else {"a": value}}
        for n, value in enumerate(values)
    ]
    return [bool(flag) for flag in mask(parse(condition), Columns.from_rows(rows))]


def test_types_never_coerce() -> None:
    values = (1, 1.0, "1", True, None, [1], {"1": 1})
    assert holds("data.a == 1", *values) == [True, True, False, False, False, False, False]
    assert holds("data.a != 1", *values) == [False, False, True, True, True, True, True]
    assert holds('data.a == "1"', *values) == [False, False, True, False, False, False, False]
    assert holds("data.a == true", *values) == [False, False, False, True, False, False, False]
    assert holds("data.a in [1]", *values) == [True, True, False, False, False, False, False]
    assert holds("data.a in [true]", *values) == [False, False, False, True, False, False, False]


def test_a_missing_field_is_null() -> None:
    assert holds("data.a == null", MISSING, None, 0, "", False) == [True, True, False, False, False]
    assert holds("data.a in [null, 0]", MISSING, None, 0, "") == [True, True, True, False]
    assert holds("exists(data.a)", MISSING, None, 0, "", False) == [False, False, True, True, True]
    assert holds("data.a < 5", MISSING, None, 0) == [False, False, True]
    assert holds("not data.a < 5", MISSING, None, 0) == [True, True, False]


def test_numbers_order_with_numbers_and_strings_with_strings() -> None:
    values: tuple[object, ...] = (1, 2.5, "1", "b", True, None, [])
    assert holds("data.a >= 2", *values) == [False, True, False, False, False, False, False]
    assert holds('data.a < "b"', *values) == [False, False, True, False, False, False, False]
    assert holds('data.a <= "b"', *values) == [False, False, True, True, False, False, False]


def test_lists_and_objects_differ_from_every_literal_and_break_nothing() -> None:
    values: tuple[object, ...] = ("x", [], {}, ["x"], {"x": "x"})
    assert holds('data.a in ["x", "y"]', *values) == [True, False, False, False, False]
    assert holds('data.a not in ["x"]', *values) == [False, True, True, True, True]
    assert holds('startswith(data.a, "x")', *values) == [True, False, False, False, False]


def test_a_pattern_is_searched_anywhere_in_a_string() -> None:
    values = ("abc", "xabcx", "ABC", "äb", "\ud800abc", "", 1, ["abc"])
    found = [True, True, False, False, True, False, False, False]
    assert holds('matches(data.a, "abc")', *values) == found
    assert holds('matches(data.a, "^.b$")', *values)[3] is True
    assert holds('matches(data.a, "^(?i)abc$")', *values)[:3] == [True, False, True]


def test_a_pattern_that_ruins_other_engines_takes_linear_time() -> None:
    assert holds('matches(data.a, "^(a+)+$")', "a" * 50_000 + "b") == [False]


def test_a_number_beyond_the_range_of_a_float_compares_as_none() -> None:
    assert holds("data.a > 5", 10**400) == [False]
    assert holds("data.a != 5", 10**400) == [True]


def test_the_timestamp_compares_as_epoch_milliseconds() -> None:
    assert holds("timestamp >= 1000 and timestamp < 3000", 0, 0, 0, 0) == [False, True, True, False]
    assert holds("timestamp in [0, 2000]", 0, 0, 0) == [True, False, True]
    assert holds("exists(timestamp)", 0) == [True]


@pytest.mark.parametrize(
    "condition", ["data.a == 1", 'data.a == "x"', "exists data.a", "data.a in [1, 'x', null]"]
)
def test_no_events_give_an_empty_mask(condition: str) -> None:
    result = mask(parse(condition), Columns.from_rows([]))
    assert (result.dtype.kind, result.shape) == ("b", (0,))
