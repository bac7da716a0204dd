"""Owns the tests of how conditions are read and written."""

import pytest

from analytics.core.definitions.expressions import (
    And,
    Comparison,
    Exists,
    In,
    Matches,
    Not,
    Or,
    StartsWith,
)
from analytics.core.definitions.where import Expr, WhereError, canonical, fields, parse

TYPE = ("type",)
A = ("data", "a")
IS_X = Comparison(TYPE, "==", "x")
POSITIVE = Comparison(A, ">", 0)
PRESENT = Exists(A)


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ('type == "x"', IS_X),
        ("type == 'x'", IS_X),
        ('type=="x"', IS_X),
        ('\n type\n==\t"x" ', IS_X),
        ("data.a > 0", POSITIVE),
        ("data.a != -1.5e3", Comparison(A, "!=", -1500.0)),
        ("data.a == true", Comparison(A, "==", True)),
        ("data.a == null", Comparison(A, "==", None)),
        ('data.a <= "m"', Comparison(A, "<=", "m")),
        ('data.a in [1, "1", true, null]', In(A, (1, "1", True, None))),
        ("data.a not in [1]", Not(In(A, (1,)))),
        ("exists(data.a)", PRESENT),
        ("exists data.a", PRESENT),
        ('startswith(data.a, "x")', StartsWith(A, "x")),
        ('data.a startswith "x"', StartsWith(A, "x")),
        ('matches(data.a, "^x+$")', Matches(A, "^x+$")),
        ('data.a matches "^x+$"', Matches(A, "^x+$")),
        (r'data.a == "\"\\\n\t\'"', Comparison(A, "==", "\"\\\n\t'")),
        ("timestamp >= 1795478400000", Comparison(("timestamp",), ">=", 1795478400000)),
    ],
)
def test_a_leaf_is_read_in_every_spelling(text: str, expr: Expr) -> None:
    assert parse(text) == expr


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ('type == "x" and data.a > 0', And((IS_X, POSITIVE))),
        ('type == "x" or data.a > 0 and exists(data.a)', Or((IS_X, And((POSITIVE, PRESENT))))),
        ('(type == "x" or data.a > 0) and exists(data.a)', And((Or((IS_X, POSITIVE)), PRESENT))),
        ('not type == "x" and data.a > 0', And((Not(IS_X), POSITIVE))),
        ('not (type == "x" and data.a > 0)', Not(And((IS_X, POSITIVE)))),
        ("not not exists(data.a)", Not(Not(PRESENT))),
    ],
)
def test_not_binds_before_and_and_and_before_or(text: str, expr: Expr) -> None:
    assert parse(text) == expr


def test_chains_are_flat_however_they_are_put_in_parentheses() -> None:
    flat = Or((IS_X, POSITIVE, PRESENT))
    assert parse('type == "x" or data.a > 0 or exists(data.a)') == flat
    assert parse('type == "x" or (data.a > 0 or exists(data.a))') == flat
    assert parse('(type == "x" or data.a > 0) or exists(data.a)') == flat


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("(type=='x')", 'type == "x"'),
        ("data.a == 1.0", "data.a == 1"),
        ("data.a == 1e2", "data.a == 100"),
        ("data.a == 0.1", "data.a == 0.1"),
        ("not data.a in ['1',1]", 'data.a not in ["1", 1]'),
        ("exists data.a", "exists(data.a)"),
        ("(exists data.a or data.a>0) and not (type=='x')", None),
    ],
)
def test_the_canonical_text_has_one_spelling(text: str, written: str | None) -> None:
    again = 'exists(data.a) or data.a > 0) and not type == "x"'
    assert canonical(parse(text)) == (written or f"({again}")


def test_the_fields_of_a_condition_are_all_it_looks_at() -> None:
    expr = parse('type == "x" and (not exists(data.a) or metadata.b in [1] or data.a > 0)')
    assert fields(expr) == {("type",), ("data", "a"), ("metadata", "b")}


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 0, "a field"),
        ('type = "x"', 5, "`==`"),
        ('type == "x" && exists(data.a)', 12, "`and`"),
        ('type == "x" AND exists(data.a)', 12, "`and`"),
        ("!exists(data.a)", 0, "`not`"),
        ("type == x", 8, "a string in quotes"),
        ('"x" == type', 0, "a field"),
        ("data.a", 6, "a comparison"),
        ("data.a == 1 exists", 12, "`and`, `or` or the end"),
        ("data.a == 1)", 11, "`and`, `or` or the end"),
        ("(data.a == 1", 12, "`and`, `or` or `)`"),
        ("data.a == 5x", 10, "a string in quotes"),
        ("data.a == 1.2.3", 10, "a string in quotes"),
        ('data.a == "x', 10, "a string that is closed"),
        (r'data.a == "\d"', 11, "after a backslash"),
        ("data.a in []", 11, "a string in quotes"),
        ("data.a in [1", 12, "`,` or `]`"),
        ("data.a not startswith 'x'", 11, "`in`"),
        ("data.a < true", 9, "a number or a string after `<`"),
        ('timestamp > "2026"', 12, "epoch milliseconds"),
        ("data.a == 1e309", 10, "within the range"),
        (f"data.a == {'9' * 400}", 10, "within the range"),
        ("matches(data.a, '(')", 16, "a pattern that RE2 accepts"),
        (r"matches(data.a, '(a)\\1')", 16, "a pattern that RE2 accepts"),
        ("data == 1", 0, "must name a field inside 'data'"),
        ("__import__('os')", 0, "must be a field path"),
        ("data.__class__.__init__", 23, "a comparison"),
    ],
)
def test_a_condition_that_cannot_be_read_says_where_and_why(
    text: str, position: int, expected: str
) -> None:
    with pytest.raises(WhereError) as caught:
        parse(text)
    assert (caught.value.position, expected in caught.value.expected) == (position, True)
    assert caught.value.expected in str(caught.value)


def test_nesting_is_limited_to_32_levels() -> None:
    leaf = "exists(data.a)"
    parse("(" * 32 + leaf + ")" * 32)
    parse("not " * 32 + leaf)
    parse(" or ".join(f"({leaf})" for _ in range(200)))
    for text in ("(" * 33 + leaf + ")" * 33, "not " * 33 + leaf):
        with pytest.raises(WhereError, match="at most 32 levels of nesting"):
            parse(text)


def test_a_text_is_limited_to_4096_characters() -> None:
    text = f'data.a == "{"x" * 4084}"'
    parse(text)
    with pytest.raises(WhereError, match="at most 4096 characters"):
        parse(f"{text} ")


def test_a_list_is_limited_to_1000_values() -> None:
    parse(f"data.a in [{','.join('1' * 1000)}]")
    with pytest.raises(WhereError, match="at most 1000 values"):
        parse(f"data.a in [{','.join('1' * 1001)}]")
