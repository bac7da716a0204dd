"""Owns the reading of untrusted documents (what YAML, TOML or JSON gave) into typed values.

It notes what is wrong and goes on, so that one run reports every mistake; it must not read files.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from analytics.core.definitions.readers import Read
from analytics.errors import NOTHING, ConfigError, Mistake

T = TypeVar("T")
D = TypeVar("D")

HINTS_MAX: Final = 12
"""The most names to list as a hint: with more, one reads the documentation instead."""


class Notes:
    """The mistakes found so far in one file, in the order in which they were found."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []

    def add(self, path: str, rule: str, value: object) -> None:
        """Note that `value` at `path` breaks `rule`."""
        self.mistakes.append(Mistake(self.file, path, rule, value))

    def read(self, path: str, value: object, read: Read[T], otherwise: D) -> T | D:
        """The value as `read` gives it, or `otherwise` where it is wrong, which is noted."""
        try:
            return read(value)
        except ValueError as broken:
            self.add(path, str(broken), value)
            return otherwise

    def raise_any(self) -> None:
        """Raise ConfigError with every mistake, if there is one."""
        if self.mistakes:
            raise ConfigError(self.mistakes)


class Section:
    """One mapping of a document, taken key by key; keys nobody took are mistakes in the end."""

    def __init__(self, notes: Notes, path: str, content: Mapping[object, object]) -> None:
        self.notes = notes
        self.path = path
        self._content = content
        self._taken: set[str] = set()

    def at(self, key: object) -> str:
        """The path of a key of this section."""
        return f"{self.path}.{key}" if self.path else str(key)

    def optional(self, key: str, read: Read[T], default: D) -> T | D:
        """The value of a key, or `default` where it is absent, null or wrong (which is noted)."""
        value = self.raw(key)
        return default if value is None else self.notes.read(self.at(key), value, read, default)

    def required(self, key: str, read: Read[T]) -> T | None:
        """The value of a key; None where it is absent, null or wrong, which is noted."""
        value = self.raw(key)
        if value is None:
            self.notes.add(self.at(key), "is required", NOTHING)
            return None
        return self.notes.read(self.at(key), value, read, None)

    def raw(self, key: str) -> object:
        """The value as it stands, for what no single `read` can judge; None where absent."""
        self._taken.add(key)
        return self._content.get(key)

    def close(self) -> None:
        """Note every key that nothing took, with the nearest one that would have been."""
        for key, value in self._content.items():
            if key not in self._taken:
                hint = nearest(str(key), self._taken)
                self.notes.add(self.at(key), f"is not a known key{hint}", value)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to add to a rule: the known name closest to `name`, or all where they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (one of {', '.join(names)})" if 0 < len(names) <= HINTS_MAX else ""
