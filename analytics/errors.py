"""Owns the error tree of the system; it must not import anything of ours, nor decide anything.

AnalyticsError          everything we raise on purpose
 ├─ ConfigError         the configuration cannot be used: carries every mistake found in it
 ├─ QueryError          a question cannot be answered as asked: carries every mistake in it
 ├─ TransportError      talking to Kafka failed: says whether trying again can help
 └─ StoreError          the state on disk cannot be read or written: says what the operator can do
"""

from collections.abc import Iterable
from dataclasses import dataclass
from reprlib import Repr
from typing import Final


class AnalyticsError(Exception):
    """The root of the tree: catch it to tell our refusals from programming errors."""


class Nothing:
    """The value of a mistake about something that is not there; prints as `nothing`."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in one place of the configuration.

    `file` names the source (a file, `environment` or `command line`), `path` the place inside it
    (empty for the whole), `rule` what must hold there, `value` what stands there instead.
    """

    file: str
    path: str
    rule: str
    value: object

    def __str__(self) -> str:
        place = f"{self.file}: {self.path}" if self.path else self.file
        return f"{place}: {self.rule}, got {brief(self.value)}"


class ConfigError(AnalyticsError):
    """The configuration breaks its rules; `str()` has one line for each of the `mistakes`."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


@dataclass(frozen=True, slots=True)
class QueryMistake:
    """One thing wrong in a request: a JSON pointer (RFC 6901) into it, and what must hold there."""

    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.message}"


class QueryError(AnalyticsError):
    """A question breaks its rules; `status` is the HTTP status that says so best."""

    def __init__(self, errors: Iterable[QueryMistake], *, status: int = 422) -> None:
        self.errors = tuple(errors)
        self.status = status
        super().__init__("\n".join(map(str, self.errors)))


class TransportError(AnalyticsError):
    """Talking to Kafka failed; `recoverable` says whether the same call may succeed later."""

    def __init__(self, message: str, *, recoverable: bool) -> None:
        super().__init__(message)
        self.recoverable = recoverable


class StoreError(AnalyticsError):
    """The local state cannot be read or written; the message tells the operator what to do."""


def brief(value: object) -> str:
    """`repr(value)`, cut so that one line stays one line whatever the file held."""
    return _brief.repr(value)


_brief: Final = Repr()
_brief.maxlevel = 3
_brief.maxstring = _brief.maxother = 120
_brief.maxlong = 60
