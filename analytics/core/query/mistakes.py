"""Owns how mistakes in a question are gathered, so that a user learns of all of them at once."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from analytics.errors import QueryError, QueryMistake, brief

LISTED_MAX = 12  # past this many known names, a message lists none of them


class Mistakes:
    """The mistakes found so far in one question, each at a JSON pointer (RFC 6901)."""

    def __init__(self) -> None:
        self._found: list[QueryMistake] = []

    def add(self, at: str, message: str) -> None:
        """Record that what stands at the JSON pointer `at` breaks the rule `message` states."""
        self._found.append(QueryMistake(at, message))

    def unknown_keys(self, at: str, given: Iterable[object], known: Sequence[str]) -> None:
        """Record every key of the object at `at` that is not one of `known`."""
        for key in given:
            if key not in known:
                self.add(pointer(at, key), f"unknown name {brief(key)}{nearest(key, known)}")

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._found)

    def raise_any(self) -> None:
        """Raise one QueryError (status 422) with all that was found, or return."""
        if self._found:
            raise QueryError(tuple(self._found))


def pointer(at: str, *parts: object) -> str:
    """The JSON pointer of a child of `at`: keys and list positions, escaped as RFC 6901 asks."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return at + "".join(f"/{part}" for part in escaped)


def nearest(name: object, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: the nearest known one, else all of a few."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    if 0 < len(names) <= LISTED_MAX:
        return f"; known: {', '.join(names)}"
    return ""
