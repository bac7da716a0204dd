"""Owns the syntax tree of conditions; it must not know how they are read or evaluated."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, Protocol, cast

import re2

from analytics.core.definitions.paths import FieldPath, format_path

Scalar = str | int | float | bool | None
"""A literal. Types never mix: `1`, `"1"` and `true` are three different values."""

Operator = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path op value`; ordering operators take only numbers and strings."""

    path: FieldPath
    op: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """`path in [values]`."""

    path: FieldPath
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """`exists(path)`: the field is there and not null."""

    path: FieldPath


@dataclass(frozen=True, slots=True)
class StartsWith:
    """`startswith(path, "prefix")`."""

    path: FieldPath
    prefix: str


class Regex(Protocol):
    """The part of a compiled re2 pattern that is used: an unanchored search in UTF-8 bytes."""

    def search(self, text: bytes, /) -> object | None:
        """The first match, or None."""
        ...


@dataclass(frozen=True)
class Matches:
    """`matches(path, "pattern")`: the RE2 pattern is found anywhere in the string."""

    path: FieldPath
    pattern: str

    @cached_property
    def regex(self) -> Regex:
        """The pattern, compiled once. Raises ValueError with RE2's reason to refuse it."""
        options = re2.Options()
        options.log_errors = False  # RE2 would print to stderr what we report properly
        try:
            # Compiled as bytes: for str the wrapper maps every offset back to characters, which
            # costs more than the search.
            return cast(Regex, re2.compile(self.pattern.encode(), options))
        except (re2.error, UnicodeEncodeError) as error:
            detail = error.args[0] if error.args else error
            if isinstance(detail, bytes):
                detail = detail.decode(errors="replace")
            raise ValueError(detail) from error


@dataclass(frozen=True, slots=True)
class Not:
    """`not operand`."""

    operand: "Expr"


@dataclass(frozen=True, slots=True)
class And:
    """`a and b and …`: two or more operands, none of them an And."""

    operands: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """`a or b or …`: two or more operands, none of them an Or."""

    operands: tuple["Expr", ...]


Leaf = Comparison | In | Exists | StartsWith | Matches
Expr = Leaf | Not | And | Or


def leaves(expr: Expr) -> Iterator[Leaf]:
    """Every leaf of the tree, from left to right."""
    match expr:
        case Not(operand):
            yield from leaves(operand)
        case And(operands) | Or(operands):
            for operand in operands:
                yield from leaves(operand)
        case leaf:
            yield leaf


def fields(expr: Expr) -> frozenset[FieldPath]:
    """Every path that the expression looks at."""
    return frozenset(leaf.path for leaf in leaves(expr))


def canonical(expr: Expr) -> str:
    """The one text for this tree: equal trees give equal texts, and `parse` gives the tree back."""
    match expr:
        case Comparison(path, op, value):
            return f"{format_path(path)} {op} {_literal(value)}"
        case In(path, values):
            return f"{format_path(path)} in {_list(values)}"
        case Not(In(path, values)):
            return f"{format_path(path)} not in {_list(values)}"
        case Exists(path):
            return f"exists({format_path(path)})"
        case StartsWith(path, prefix):
            return f"startswith({format_path(path)}, {_literal(prefix)})"
        case Matches(path, pattern):
            return f"matches({format_path(path)}, {_literal(pattern)})"
        case Not(operand):
            return f"not {_operand(operand, (And, Or))}"
        case And(operands):
            return " and ".join(_operand(operand, (Or,)) for operand in operands)
        case Or(operands):
            return " or ".join(map(canonical, operands))


def _operand(expr: Expr, looser: tuple[type[And] | type[Or], ...]) -> str:
    """An operand's text, in parentheses where it binds looser than what stands around it."""
    text = canonical(expr)
    return f"({text})" if isinstance(expr, looser) else text


def _list(values: tuple[Scalar, ...]) -> str:
    return f"[{', '.join(map(_literal, values))}]"


ESCAPES: Final = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}
"""What may follow a backslash in a string, and the character it stands for."""

_ESCAPED: Final = str.maketrans(
    {char: f"\\{letter}" for letter, char in ESCAPES.items() if char != "'"}
)


def _literal(value: Scalar) -> str:
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPED)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    # 1.0 and 1 are the same number, so they have one text; repr() keeps every other float exactly.
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
