"""Owns the filters of a question: their operators and which dimension texts they accept."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from analytics.core.events.columns import TEXT_CHARS_MAX
from analytics.core.query.mistakes import Mistakes, nearest, pointer
from analytics.errors import brief

OPERATORS = ("eq", "ne", "in", "not_in", "gt", "ge", "lt", "le", "startswith", "exists")

LIST_MAX = 1_000  # values of `in` and `not_in`

_ORDERINGS: dict[str, Callable[[float | str, float | str], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_INTEGER_MAX = 2**63  # larger integers have no exact JSON text in every program
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Filter:
    """A test on the text of one dimension.

    `op` is in, not_in, gt, ge, lt, le or startswith; the other operators are written with these
    (`eq` is `in` one text, `exists` is `not_in` the empty text, which is what a missing value is).
    `texts` holds one text, or for in and not_in any number.
    """

    field: str
    op: str
    texts: tuple[str, ...]

    def accepts(self, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the texts pass. Called with a dimension's dictionary, not with its rows."""
        test = self._test()
        return np.fromiter(map(test, labels), np.bool_, len(labels))

    def document(self) -> dict[str, object]:
        """The filter as `parse_filters` reads it."""
        many = self.op in ("in", "not_in")
        return {
            "field": self.field,
            "op": self.op,
            "value": [*self.texts] if many else self.texts[0],
        }

    def _test(self) -> Callable[[str], bool]:
        if self.op == "in":
            return frozenset(self.texts).__contains__
        if self.op == "not_in":
            excluded = frozenset(self.texts)
            return lambda text: text not in excluded
        [wanted] = self.texts
        if self.op == "startswith":
            return lambda text: text.startswith(wanted)
        compare = _ORDERINGS[self.op]
        number = as_number(wanted)
        if number is None:
            return lambda text: compare(text, wanted)

        def test(text: str) -> bool:
            # As in `where`, values of two types have no order: a text that is no number fails.
            left = as_number(text)
            return left is not None and compare(left, number)

        return test


def as_number(text: str) -> float | None:
    """The number a dimension text stands for, or None. Only JSON's notation counts."""
    return float(text) if _NUMBER.fullmatch(text) else None


def parse_filters(
    document: object, dimensions: Iterable[str], mistakes: Mistakes, *, filters_max: int
) -> tuple[Filter, ...]:
    """Read `filters: [{field, op, value}]`; `dimensions` are the names every asked metric has.

    What is wrong goes to `mistakes`; only sound filters are returned.
    """
    if not isinstance(document, list):
        mistakes.add("/filters", "must be a list of {field, op, value}")
        return ()
    if len(document) > filters_max:
        mistakes.add("/filters", f"at most {filters_max} filters, got {len(document)}")
        return ()
    known = sorted(dimensions)
    parsed = (
        _parse_filter(item, pointer("/filters", i), known, mistakes)
        for i, item in enumerate(document)
    )
    return tuple(each for each in parsed if each is not None)


def _parse_filter(
    item: object, at: str, dimensions: Sequence[str], mistakes: Mistakes
) -> Filter | None:
    if not isinstance(item, dict):
        mistakes.add(at, "must be an object {field, op, value}")
        return None
    mistakes.unknown_keys(at, item, ("field", "op", "value"))
    field, op = item.get("field"), item.get("op", "eq")
    if not isinstance(field, str) or field not in dimensions:
        mistakes.add(
            pointer(at, "field"), f"unknown dimension {brief(field)}{nearest(field, dimensions)}"
        )
        return None
    if not isinstance(op, str) or op not in OPERATORS:
        mistakes.add(pointer(at, "op"), f"unknown operator {brief(op)}{nearest(op, OPERATORS)}")
        return None
    try:
        return _build(field, op, item.get("value"))
    except ValueError as error:
        mistakes.add(pointer(at, "value"), str(error))
        return None


def _build(field: str, op: str, value: object) -> Filter:
    match op:
        case "exists":
            if value not in (None, True, False):
                raise ValueError("exists takes true, false or nothing")
            return Filter(field, "in" if value is False else "not_in", ("",))
        case "in" | "not_in":
            if not isinstance(value, list) or not 1 <= len(value) <= LIST_MAX:
                raise ValueError(f"{op} takes a list of 1 to {LIST_MAX} values")
            return Filter(field, op, tuple(_text(each) for each in value))
        case "eq" | "ne":
            return Filter(field, "in" if op == "eq" else "not_in", (_text(value),))
        case _:
            text = _text(value)
            if not text:
                raise ValueError(f"{op} takes a text or a number, and not an empty one")
            return Filter(field, op, (text,))


def _text(value: object) -> str:
    """The dimension text of a JSON value: the rule by which events get theirs."""
    match value:
        case str():
            return value[:TEXT_CHARS_MAX]
        case None:
            return ""
        case float() if not math.isfinite(value):
            raise ValueError("must be a finite number")
        case float() | int() if isinstance(value, float) or abs(value) < _INTEGER_MAX:
            return msgspec.json.encode(value).decode()
        case _:
            raise ValueError("must be a text, a number, true, false or null")
