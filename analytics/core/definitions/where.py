"""Owns the reading of conditions such as `type == "purchase" and data.amount > 0`.

The grammar is closed: a condition can only look at fields of its event and compare them with
literals. Nothing in it is ever executed.

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" condition ")" | leaf
    leaf        = path ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) literal
                | path [ "not" ] "in" "[" literal { "," literal } "]"
                | path ( "startswith" | "matches" ) string
                | ( "startswith" | "matches" ) "(" path "," string ")"
                | "exists" ( path | "(" path ")" )
    literal     = string | number | "true" | "false" | "null"
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from analytics.core.definitions.expressions import (
    ESCAPES,
    And,
    Comparison,
    Exists,
    Expr,
    In,
    Matches,
    Not,
    Operator,
    Or,
    Scalar,
    StartsWith,
    canonical,
    fields,
)
from analytics.core.definitions.paths import TIMESTAMP, FieldPath, parse_path

__all__ = ["Expr", "WhereError", "canonical", "fields", "parse"]

TEXT_CHARS_MAX: Final = 4_096
DEPTH_MAX: Final = 32
LIST_MAX: Final = 1_000

_WORDS: Final[dict[str, Scalar]] = {"true": True, "false": False, "null": None}
_ORDERING: Final = ("<", "<=", ">", ">=")
_COMPARISON: Final = ("==", "!=", *_ORDERING)
_KEYWORDS: Final = {"and", "or", "not", "in", "exists", "startswith", "matches", *_WORDS}
_MEANT: Final = {
    "=": "`==`",
    "&&": "`and`",
    "||": "`or`",
    "!": "`not`",
    '"': "a string that is closed",
    "'": "a string that is closed",
}
"""What to expect in place of text that other languages would take, or that was left open."""

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.]))
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<symbol>==|!=|<=|>=|[<>()\[\],])
      | (?P<word>[A-Za-z_][\w.-]*)
      | (?P<wrong>[^\w\s]+|\S)
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class WhereError(ValueError):
    """A condition that cannot be read.

    `expected` says what should stand at character `position` (from 0), `found` what does: it is
    empty at the end of the text.
    """

    def __init__(self, position: int, expected: str, found: str) -> None:
        self.position = position
        self.expected = expected
        self.found = found
        instead = f"`{found}`" if found else "the end"
        super().__init__(
            f"must be a condition: expected {expected}, not {instead}, at character {position}"
        )


def parse(text: str) -> Expr:
    """Read a condition into its tree. Raises WhereError."""
    if len(text) > TEXT_CHARS_MAX:
        raise WhereError(TEXT_CHARS_MAX, f"at most {TEXT_CHARS_MAX} characters", str(len(text)))
    parser = _Parser(text)
    expr = parser.condition()
    if parser.token.kind != "end":
        raise parser.wrong("`and`, `or` or the end")
    return expr


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens of a text, the last of kind `end`; anything unreadable is of kind `wrong`."""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "end"
        yield _Token(kind, match[kind], match.start(kind))
        if kind == "end":
            return


class _Parser:
    """Recursive descent with one token of look-ahead: a method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._depth = 0
        self.token = next(self._tokens)

    def wrong(self, expected: str) -> WhereError:
        """What to raise at a token that cannot be used."""
        token = self.token
        if token.text.lower() in _KEYWORDS - {token.text}:
            expected = f"`{token.text.lower()}`"
        elif token.kind == "wrong":
            expected = _MEANT.get(token.text, expected)
        return WhereError(token.position, expected, token.text)

    def condition(self) -> Expr:
        return self._chain("or", self._conjunction, Or)

    def _conjunction(self) -> Expr:
        return self._chain("and", self._negation, And)

    def _chain(self, word: str, operand: Callable[[], Expr], join: type[And] | type[Or]) -> Expr:
        """`operand { word operand }`, flat: `a or (b or c)` is the same tree as `a or b or c`."""
        operands = _flat(operand(), join)
        while self._accept(word):
            operands += _flat(operand(), join)
        return operands[0] if len(operands) == 1 else join(tuple(operands))

    def _negation(self) -> Expr:
        if self.token.text == "not":
            return Not(self._nested(self._negation))
        if self.token.text == "(":
            expr = self._nested(self.condition)
            self._expect(")", "`and`, `or` or `)`")
            return expr
        return self._leaf()

    def _nested(self, rule: Callable[[], Expr]) -> Expr:
        """Step over the token that opens a level, and read `rule` on that level."""
        if self._depth == DEPTH_MAX:
            raise self.wrong(f"at most {DEPTH_MAX} levels of nesting")
        self._depth += 1
        self._advance()
        expr = rule()
        self._depth -= 1
        return expr

    def _leaf(self) -> Expr:
        for word, leaf in (("startswith", self._starts_with), ("matches", self._matches)):
            if self._accept(word):
                self._expect("(")
                path = self._path()
                self._expect(",")
                expr = leaf(path)
                self._expect(")")
                return expr
        if self._accept("exists"):
            parentheses = self._accept("(")
            expr = Exists(self._path())
            if parentheses:
                self._expect(")")
            return expr
        return self._relation(self._path())

    def _relation(self, path: FieldPath) -> Expr:
        """What follows a path: a comparison, a list, or an infix function."""
        if self.token.text in _COMPARISON:
            return self._comparison(path)
        if self._accept("in"):
            return In(path, self._list(path))
        if self._accept("not"):
            self._expect("in")
            return Not(In(path, self._list(path)))
        if self._accept("startswith"):
            return self._starts_with(path)
        if self._accept("matches"):
            return self._matches(path)
        raise self.wrong("a comparison, `in`, `not in`, `startswith` or `matches` after the field")

    def _comparison(self, path: FieldPath) -> Expr:
        op = cast(Operator, self.token.text)
        self._advance()
        at = self.token
        value = self._literal(path)
        if op in _ORDERING and (value is None or isinstance(value, bool)):
            raise WhereError(at.position, f"a number or a string after `{op}`", at.text)
        return Comparison(path, op, value)

    def _list(self, path: FieldPath) -> tuple[Scalar, ...]:
        self._expect("[")
        values = [self._literal(path)]
        while self._accept(","):
            if len(values) == LIST_MAX:
                raise self.wrong(f"at most {LIST_MAX} values in a list")
            values.append(self._literal(path))
        self._expect("]", "`,` or `]`")
        return tuple(values)

    def _starts_with(self, path: FieldPath) -> Expr:
        return StartsWith(path, self._string())

    def _matches(self, path: FieldPath) -> Expr:
        at = self.token
        expr = Matches(path, self._string())
        try:
            expr.regex  # noqa: B018 - compiles it, once and now, so that a bad pattern is found here
        except ValueError as error:
            expected = f"a pattern that RE2 accepts ({error})"
            raise WhereError(at.position, expected, at.text) from error
        return expr

    def _path(self) -> FieldPath:
        token = self.token
        if token.kind != "word" or token.text in _KEYWORDS:
            raise self.wrong("a field such as type or data.amount")
        try:
            path = parse_path(token.text)
        except ValueError as error:
            raise self.wrong(f"a field ({error})") from error
        self._advance()
        return path

    def _literal(self, path: FieldPath) -> Scalar:
        """A literal to compare `path` with."""
        token = self.token
        if token.kind == "string" and path != TIMESTAMP:
            return self._string()
        if token.kind == "number":
            return self._number()
        if token.kind == "word" and token.text in _WORDS:
            self._advance()
            return _WORDS[token.text]
        if path == TIMESTAMP:
            raise self.wrong("a number of epoch milliseconds to compare the timestamp with")
        raise self.wrong("a string in quotes, a number, true, false or null")

    def _number(self) -> int | float:
        text = self.token.text
        # float() of a text overflows to inf where int() would build a number nobody can compare.
        value = float(text)
        if not math.isfinite(value):
            raise self.wrong("a number within the range of a float")
        self._advance()
        return value if any(mark in text for mark in ".eE") else int(text)

    def _string(self) -> str:
        token = self.token
        if token.kind != "string":
            raise self.wrong("a string in quotes")
        for escape in _ESCAPE.finditer(token.text):
            if escape[1] not in ESCAPES:
                position = token.position + escape.start()
                known = ", ".join(f"\\{letter}" for letter in ESCAPES)
                raise WhereError(position, f"one of {known} after a backslash", escape[0])
        self._advance()
        return _ESCAPE.sub(lambda escape: ESCAPES[escape[1]], token.text[1:-1])

    def _accept(self, text: str) -> bool:
        """Step over the token if it is this one."""
        if self.token.text != text:
            return False
        self._advance()
        return True

    def _expect(self, text: str, expected: str | None = None) -> None:
        if not self._accept(text):
            raise self.wrong(expected or f"`{text}`")

    def _advance(self) -> None:
        self.token = next(self._tokens, self.token)


def _flat(expr: Expr, join: type[And] | type[Or]) -> list[Expr]:
    return list(expr.operands) if isinstance(expr, And | Or) and type(expr) is join else [expr]
