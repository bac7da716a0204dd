"""Tests of how numbers and times are written."""

import pytest

from analytics.cli.tables import Table, cell, number_text, rich_table, time_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (87.2, "87.2"), (87.256, "87.26"), (1234567.0, "1,234,567"),
        (-0.5, "-0.5"), (0.00123456, "0.001235"), (100.0, "100"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_grouped(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_time_has_milliseconds_only_where_it_needs_them() -> None:
    assert time_text(1795478400000) == "2026-11-24 00:00:00Z"
    assert time_text(1795478400250) == "2026-11-24 00:00:00.250Z"


def test_the_most_frequent_values_stand_with_their_counts() -> None:
    values = [{"value": "ORD", "count": 1200}, {"value": "ATL", "count": 7}]
    assert cell(values, "topk") == "ORD 1,200, ATL 7"


def test_markup_in_a_value_is_only_text_on_a_terminal() -> None:
    from rich.console import Console

    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(rich_table(Table(("source",), (False,), (("[bold]UA[/bold]",),))))

    assert "[bold]UA[/bold]" in capture.get()
