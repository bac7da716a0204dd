"""Owns the tests of how durations are written."""

import pytest

from analytics.core.definitions.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("1ms", 1),
        ("250ms", 250),
        ("10s", 10_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("30d", 2_592_000_000),
        ("400d", 34_560_000_000),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text: str, duration_ms: int) -> None:
    assert parse_duration(text) == duration_ms


@pytest.mark.parametrize(
    "text", ["", "10", "s", "10 s", "1.5s", "-1s", "1h30m", "10S", "10s\n", "٣s", 10, None, True]
)
def test_what_has_no_number_or_no_unit_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 10s"):
        parse_duration(text)


def test_zero_is_a_duration_only_where_it_makes_sense() -> None:
    assert parse_duration("0s", zero=True) == 0
    with pytest.raises(ValueError, match="longer than zero"):
        parse_duration("0s")


@pytest.mark.parametrize("text", ["401d", "34560000001ms", "999999999999999d"])
def test_no_duration_is_longer_than_400_days(text: str) -> None:
    with pytest.raises(ValueError, match="at most 400d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "250ms", "1s", "90s", "5m", "23h", "1d"])
def test_a_duration_is_written_in_the_largest_unit_that_holds_it(text: str) -> None:
    assert format_duration(parse_duration(text, zero=True)) == text
