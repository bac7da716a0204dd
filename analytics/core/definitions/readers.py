"""Owns the readers of single values: a typed value comes out, or ValueError with the rule."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from analytics.core.definitions.duration import format_duration, parse_duration

T = TypeVar("T")

Read = Callable[[object], T]
"""Turns a raw value into a typed one, or raises ValueError with the rule that it breaks."""

_FILE: Final = r"file:///\S*"
_REST: Final = (
    r"://(?:[^\s/?#]*@)?"  # user and password
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?"  # host and port
    r"(?:[/?]\S*)?"
)


def text(value: object) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be text")
    return value


def path(value: object) -> Path:
    """The path of a file or a directory, which need not exist."""
    return value if isinstance(value, Path) else Path(text(value))


def mapping(value: object) -> Mapping[object, object]:
    """Any mapping, for a `Section` to take apart."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping of keys to values")
    return value


def list_of(length_max: int) -> Read[Sequence[object]]:
    """Lists of one to `length_max` entries, whatever these are."""

    def read(value: object) -> Sequence[object]:
        if not isinstance(value, list) or not value:
            raise ValueError("must be a list with at least one entry")
        if len(value) > length_max:
            raise ValueError(f"must be a list of at most {length_max} entries")
        return value

    return read


def integer(low: int, high: int) -> Read[int]:
    """Whole numbers from `low` to `high`, both included."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def duration(low_ms: int, high_ms: int) -> Read[int]:
    """Durations in milliseconds from `low_ms` to `high_ms`, both included."""

    def read(value: object) -> int:
        span_ms = parse_duration(value, zero=low_ms == 0)
        if not low_ms <= span_ms <= high_ms:
            low, high = format_duration(low_ms), format_duration(high_ms)
            raise ValueError(f"must be a duration from {low} to {high}")
        return span_ms

    return read


def pattern(regex: str, rule: str) -> Read[str]:
    """Text that the whole of `regex` matches; `rule` says in words what that is."""
    compiled = re.compile(regex)

    def read(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise ValueError(rule)
        return value

    return read


def url(*examples: str) -> Read[str]:
    """URLs with a host and no blanks (`file:` with an absolute path), of the examples' schemes."""
    rule = f"must be a URL such as {' or '.join(examples)}"
    schemes = {example.partition("://")[0] for example in examples}
    shapes = (_FILE if scheme == "file" else f"{re.escape(scheme)}{_REST}" for scheme in schemes)
    shape = pattern("|".join(shapes), rule)

    def read(value: object) -> str:
        url = shape(value)
        try:
            _ = urlsplit(url).port
        except ValueError as error:  # beyond 65535
            raise ValueError(rule) from error
        return url

    return read
