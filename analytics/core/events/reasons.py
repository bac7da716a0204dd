"""Owns the closed set of reasons why a line is no event; it must not decide which one applies."""

from enum import StrEnum
from typing import Final, NamedTuple

DETAIL_CHARS_MAX: Final = 300
VALUE_CHARS_MAX: Final = 80


class Reason(StrEnum):
    """Why a line was refused; used as a dead letter's header and as a metric label."""

    TOO_LARGE = "too_large"
    INVALID_UTF8 = "invalid_utf8"
    TOO_DEEP = "too_deep"
    INVALID_JSON = "invalid_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    EMPTY_TYPE = "empty_type"
    EMPTY_FIELD = "empty_field"
    TOO_LONG = "too_long"
    BAD_TIMESTAMP = "bad_timestamp"
    FUTURE_TIMESTAMP = "future_timestamp"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"


class Refusal(NamedTuple):
    """A reason, and a sentence for people that names the field, the rule and the value."""

    reason: Reason
    detail: str


def refuse(reason: Reason, rule: str, value: str | None = None) -> Refusal:
    """Word a refusal: the rule, then the value that broke it, both cut to a bounded length."""
    if value is not None:
        rule = f"{rule}, got {_cut(value, VALUE_CHARS_MAX)}"
    return Refusal(reason, _cut(rule, DETAIL_CHARS_MAX))


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
