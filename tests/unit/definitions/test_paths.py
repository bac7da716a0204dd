"""Owns the tests of field paths."""

import pytest

from analytics.core.definitions.paths import FieldPath, format_path, parse_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("id", ("id",)),
        ("timestamp", ("timestamp",)),
        ("type", ("type",)),
        ("source", ("source",)),
        ("data.country", ("data", "country")),
        ("data.cart.total-eur", ("data", "cart", "total-eur")),
        ("metadata._trace", ("metadata", "_trace")),
    ],
)
def test_a_path_is_its_segments(text: str, path: FieldPath) -> None:
    assert parse_path(text) == path
    assert format_path(path) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must be a field path"),
        ("amount", "must be a field path"),
        ("Data.amount", "must be a field path"),
        ("data", "must name a field inside 'data'"),
        ("source.name", "must not go below 'source'"),
        ("data.", "must have segments"),
        ("data..x", "must have segments"),
        ("data.1st", "must have segments"),
        ("data.x\n", "must have segments"),
        ("data.a b", "must have segments"),
        ("data.a.b.c.d.e.f.g.h", "at most 8 segments"),
    ],
)
def test_any_other_text_breaks_a_rule(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        parse_path(text)
