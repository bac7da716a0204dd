"""Owns the proof that conditions survive being written, and mean what a naive reading says."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from analytics.core.definitions.expressions import (
    And,
    Comparison,
    Exists,
    In,
    Leaf,
    Matches,
    Not,
    Or,
    StartsWith,
)
from analytics.core.definitions.filtering import mask
from analytics.core.definitions.paths import FieldPath
from analytics.core.definitions.where import Expr, WhereError, canonical, parse
from analytics.core.events.columns import Columns

PATHS: tuple[FieldPath, ...] = (("type",), ("data", "a"), ("data", "b", "c-d"), ("metadata", "_x"))
TIMESTAMP: FieldPath = ("timestamp",)
NO_FLOAT = object()
ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

paths = st.sampled_from(PATHS)
# Few different texts, so that events and literals meet, and a few from anywhere.
texts = st.sampled_from(("", "a", "ab", "b", "1", "true", "é", '"', "\\", "\n")) | st.text(
    max_size=4
)
numbers = st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = (
    scalars
    | st.just(10**400)
    | st.lists(scalars, max_size=2)
    | st.dictionaries(st.sampled_from(("c-d", "x")), scalars, max_size=2)
)

leaves: st.SearchStrategy[Expr] = st.one_of(
    st.builds(Comparison, paths, st.sampled_from(("==", "!=")), scalars),
    st.builds(Comparison, paths, st.sampled_from(tuple(ORDERINGS)), numbers | texts),
    st.builds(Comparison, st.just(TIMESTAMP), st.sampled_from(("==", *ORDERINGS)), numbers),
    st.builds(In, paths, st.lists(scalars, min_size=1, max_size=4).map(tuple)),
    st.builds(Exists, paths),
    st.builds(StartsWith, paths, texts),
    st.builds(Matches, paths, st.sampled_from(("a", "^a", "b$", "^[0-9]+$", "^(a|b)*$", "é", ""))),
)


def flat(join: type[And] | type[Or], operands: list[Expr]) -> Expr:
    """A chain as the parser makes it: no chain of a kind directly inside one of the same kind."""
    items: list[Expr] = []
    for operand in operands:
        items += (
            operand.operands
            if isinstance(operand, And | Or) and type(operand) is join
            else (operand,)
        )
    return join(tuple(items))


def nested(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    operands = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        st.builds(Not, inner),
        st.builds(flat, st.sampled_from((And, Or)), operands),
    )


exprs = st.recursive(leaves, nested, max_leaves=8)

events = st.fixed_dictionaries(
    {"timestamp": st.integers(0, 5), "type": texts},
    optional={
        "data": st.dictionaries(st.sampled_from(("a", "b")), values, max_size=2),
        "metadata": st.dictionaries(st.just("_x"), values, max_size=1),
    },
)


def naive(expr: Expr, event: Mapping[str, object]) -> bool:
    """What a condition says about one event, read off the definition."""
    match expr:
        case Not(operand):
            return not naive(operand, event)
        case And(operands):
            return all(naive(operand, event) for operand in operands)
        case Or(operands):
            return any(naive(operand, event) for operand in operands)
        case leaf:
            return naive_leaf(leaf, value_at(event, leaf.path))


def naive_leaf(leaf: Leaf, value: object) -> bool:
    match leaf:
        case Comparison(_, "==", literal):
            return same(value, literal)
        case Comparison(_, "!=", literal):
            return not same(value, literal)
        case Comparison(_, op, literal):
            return kind(value) == kind(literal) and ORDERINGS[op](value, literal)
        case In(_, literals):
            return any(same(value, literal) for literal in literals)
        case Exists():
            return value is not None
        case StartsWith(_, prefix):
            return isinstance(value, str) and value.startswith(prefix)
        case Matches(_, pattern):
            # In Python alone, `$` also matches before a newline at the end.
            return isinstance(value, str) and bool(re.search(pattern.replace("$", r"\Z"), value))


def value_at(event: object, path: FieldPath) -> object:
    """The value at a path: None where it leads nowhere, NO_FLOAT for a number that no float is."""
    for name in path:
        event = event.get(name) if isinstance(event, dict) else None
    return NO_FLOAT if event == 10**400 else event


def kind(value: object) -> type:
    return float if type(value) is int else type(value)


def same(value: object, literal: object) -> bool:
    return kind(value) == kind(literal) and value == literal


@given(exprs)
def test_a_condition_is_read_back_as_it_was_written(expr: Expr) -> None:
    text = canonical(expr)
    assert parse(text) == expr
    assert canonical(parse(text)) == text  # which tells `true` from 1, as `==` does not


@given(exprs, st.lists(events, max_size=12))
def test_a_mask_says_of_each_event_what_a_naive_reading_says(
    expr: Expr, rows: list[dict[str, object]]
) -> None:
    result = mask(expr, Columns.from_rows(rows))
    assert result.tolist() == [naive(expr, row) for row in rows]


@given(st.text(max_size=40) | st.text(alphabet=" ()[],'\"=<>notandri0.1edataxs\\", max_size=40))
def test_any_text_is_read_or_refused_at_a_place_inside_it(text: str) -> None:
    try:
        expr = parse(text)
    except WhereError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert parse(canonical(expr)) == expr
