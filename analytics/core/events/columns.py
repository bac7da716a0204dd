"""Owns the columnar view of a batch of accepted events; it must not know how they were decoded.

Everything after the codec works on whole columns, so this is the only place where an event's value
is turned into a number or into dimension text. A column is built on first use and kept: a path that
nobody asks for costs nothing, and one that ten metrics share is converted once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import NoneType
from typing import Final, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from analytics.core.definitions.paths import TIMESTAMP, FieldPath

TEXT_CHARS_MAX: Final = 256
"""Dimension text is cut here: a runaway value may make a series, but never a huge key."""

_T = TypeVar("_T")

_ENCODE: Final = msgspec.json.Encoder().encode
_NUMERIC: Final = frozenset({int, float, NoneType})


class Columns:
    """Columns of n accepted events, in log order; every column has length n.

    What a method returns is cached and shared between callers, so nobody may change it in place.
    A path is one of those the events were decoded for; any other raises KeyError.
    """

    __slots__ = (
        "_locate",
        "_numbers",
        "_parent",
        "_raw",
        "_read",
        "_records",
        "_strings",
        "n",
        "timestamps",
    )

    n: int
    timestamps: NDArray[np.int64]
    """Event time in epoch milliseconds, never negative."""

    def __init__(
        self,
        timestamps: NDArray[np.int64],
        locate: Callable[[], NDArray[np.int32]],
        read: Callable[[FieldPath], list[object]],
    ) -> None:
        """`locate` gives the records; `read` the values of a path, as `raw` promises them."""
        self.n = len(timestamps)
        self.timestamps = timestamps
        self._locate = locate
        self._read = read
        self._parent: tuple[Columns, NDArray[np.intp]] | None = None
        self._records: NDArray[np.int32] | None = None
        self._raw: dict[FieldPath, list[object]] = {}
        self._numbers: dict[FieldPath, NDArray[np.float64]] = {}
        self._strings: dict[FieldPath, list[str]] = {}

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, object]]) -> Columns:
        """Columns of parsed events, each its own record; `timestamp` in epoch milliseconds."""
        timestamps = np.array([row["timestamp"] for row in rows], dtype=np.int64)
        return cls(
            timestamps,
            lambda: np.arange(len(rows), dtype=np.int32),
            lambda path: [member(row, path) for row in rows],
        )

    @property
    def records(self) -> NDArray[np.int32]:
        """Index of the record each event came from, among the values that were decoded."""
        if self._records is None:
            self._records = self._locate()
        return self._records

    def raw(self, path: FieldPath) -> list[object]:
        """Values as decoded: str, bool, int, float, list or dict; None where missing or null.

        The timestamp is epoch milliseconds here too, whichever form the producer sent.
        """
        column = self._raw.get(path)
        if column is None:
            column = self._raw[path] = self._build_raw(path)
        return column

    def numbers(self, path: FieldPath) -> NDArray[np.float64]:
        """Values as finite float64; nan where there is no number.

        A bool or a string is no number, and neither is an integer beyond the range of float64.
        """
        column = self._numbers.get(path)
        if column is None:
            if self._parent is None:
                column = _as_numbers(self.raw(path))
            else:
                parent, index = self._parent
                column = parent.numbers(path)[index]
            self._numbers[path] = column
        return column

    def strings(self, path: FieldPath) -> list[str]:
        """Values as dimension text of at most TEXT_CHARS_MAX characters.

        Strings stand as they are; numbers and bools as JSON writes them (1, 1.5, true); everything
        else, and a missing value, is the empty string.
        """
        column = self._strings.get(path)
        if column is None:
            if self._parent is None:
                column = _as_strings(self.raw(path))
            else:
                parent, index = self._parent
                column = _pick(parent.strings(path), index)
            self._strings[path] = column
        return column

    def take(self, index: NDArray[np.intp]) -> Columns:
        """The events at `index`, in the order of `index`.

        Its columns are cut from this batch's, so that many metrics, each with its own selection,
        still convert a path only once.
        """
        taken = Columns(self.timestamps[index], lambda: self.records[index], self._read)
        taken._parent = (self, index)
        return taken

    def _build_raw(self, path: FieldPath) -> list[object]:
        if path == TIMESTAMP:
            return list(self.timestamps.tolist())
        if self._parent is None:
            return self._read(path)
        parent, index = self._parent
        return _pick(parent.raw(path), index)


def member(value: object, path: FieldPath) -> object:
    """The value at `path` below a parsed JSON object; None where the path leads nowhere."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _pick(column: list[_T], index: NDArray[np.intp]) -> list[_T]:
    return [column[i] for i in index.tolist()]


def _as_numbers(column: list[object]) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] | None = None
    # numpy reads None as nan, but it would also read "1.5" as 1.5 and True as 1.0.
    if _NUMERIC.issuperset(map(type, column)):
        # An integer of more than 308 digits overflows: then every value is converted by itself.
        with suppress(OverflowError):
            numbers = np.array(column, dtype=np.float64)
    if numbers is None:
        numbers = np.fromiter(map(_number, column), dtype=np.float64, count=len(column))
    numbers[np.isinf(numbers)] = np.nan
    return numbers


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _as_strings(column: list[object]) -> list[str]:
    kinds = set(map(type, column))
    if kinds == {str}:
        texts = cast("list[str]", column)
    elif kinds == {str, NoneType}:
        texts = [value or "" for value in cast("list[str | None]", column)]
    elif kinds == {int}:
        texts = list(map(str, column))
    else:
        texts = [_text(value) for value in column]
    if max(map(len, texts), default=0) > TEXT_CHARS_MAX:
        texts = [text[:TEXT_CHARS_MAX] for text in texts]
    return texts


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and value == value:  # nan has no JSON text
        return _ENCODE(value).decode()
    return ""
