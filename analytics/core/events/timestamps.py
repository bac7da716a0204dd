"""Owns the reading of event times, a batch at once; it must not judge how early or late they are.

A timestamp is RFC 3339 with an offset, or an integer of epoch milliseconds. Producers keep to one
way of writing, so the strings of a batch mostly have one width: laid under one another they are a
matrix of characters, and each field of the date is a few of its columns. There is no second parser
for the odd ones, so a string is read the same way whatever company it comes in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

NO_TIME: Final = int(np.iinfo(np.int64).min)
"""Stands for a string that is no time at all."""

_INT64_MAX: Final = int(np.iinfo(np.int64).max)
_SECONDS_END: Final = len("YYYY-MM-DDTHH:MM:SS")
_ZULU: Final = len("Z")
_OFFSET: Final = len("+HH:MM")
_FRACTION_DIGITS_MAX: Final = 9
_DATE_DIGITS: Final = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)
_SMALL: Final = 0x20  # the bit that tells a small ASCII letter from its capital

_Characters: TypeAlias = NDArray[np.uint8]  # (width, n): row i holds character i of every string
_Flags: TypeAlias = NDArray[np.bool_]


def parse(values: Sequence[str | int]) -> NDArray[np.int64]:
    """Epoch milliseconds, rounded down, of n timestamps; NO_TIME for a string that is none.

    Strings follow RFC 3339, section 5.6: `T` and `Z` may be small, and a space may stand for the
    `T`. A fraction has one to nine digits. A leap second (`:60`) is no time, because epoch time
    has no number for it. Integers beyond int64 become the nearest one within. Never raises.
    """
    try:
        widths = set(map(len, cast("Sequence[str]", values)))
    except TypeError:  # an integer has no length
        if set(map(type, values)) == {int}:
            return _integers(cast("Sequence[int]", values))
    else:
        if len(widths) == 1:
            return _texts(cast("Sequence[str]", values))
    return _mixed(values)


def _mixed(values: Sequence[str | int]) -> NDArray[np.int64]:
    """Sort the values into integers and strings of each width, and parse each group by itself."""
    times = np.empty(len(values), dtype=np.int64)
    integers = [index for index, value in enumerate(values) if not isinstance(value, str)]
    times[integers] = _integers([cast("int", values[index]) for index in integers])
    widths: defaultdict[int, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        if isinstance(value, str):
            widths[len(value)].append(index)
    for indices in widths.values():
        times[indices] = _texts([cast("str", values[index]) for index in indices])
    return times


def _integers(values: Sequence[int]) -> NDArray[np.int64]:
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        return np.array([max(NO_TIME, min(value, _INT64_MAX)) for value in values], dtype=np.int64)


def _texts(texts: Sequence[str]) -> NDArray[np.int64]:
    """Parse strings of one width. They differ at most in how the offset is written."""
    width = len(texts[0])
    if not _SECONDS_END < width <= _SECONDS_END + 1 + _FRACTION_DIGITS_MAX + _OFFSET:
        return np.full(len(texts), NO_TIME, dtype=np.int64)
    # A character outside ASCII becomes "?", which keeps the width and is right nowhere.
    joined = "".join(texts).encode("ascii", "replace")
    characters = np.frombuffer(joined, dtype=np.uint8).reshape(-1, width).T.copy()
    zulu = (characters[-1] | _SMALL) == ord("z")
    if zulu.all():
        return _moments(characters, _ZULU)
    return np.where(zulu, _moments(characters, _ZULU), _moments(characters, _OFFSET))


def _moments(characters: _Characters, tail: int) -> NDArray[np.int64]:
    """Epoch milliseconds of strings whose offset takes the last `tail` characters."""
    width, n = characters.shape
    digits = characters - np.uint8(ord("0"))  # what is no digit wraps round to more than 9
    fraction_digits = width - _SECONDS_END - tail - 1
    if not (fraction_digits == -1 or 1 <= fraction_digits <= _FRACTION_DIGITS_MAX):
        return np.full(n, NO_TIME, dtype=np.int64)
    right = _punctuated(characters)
    rows = list(_DATE_DIGITS)
    millis = np.zeros(n, dtype=np.int64)
    if fraction_digits > 0:
        right &= characters[_SECONDS_END] == ord(".")
        rows += range(_SECONDS_END + 1, width - tail)
        for row, weight in zip(rows[len(_DATE_DIGITS) :], (100, 10, 1), strict=False):
            millis += digits[row] * np.int64(weight)
    if tail == _OFFSET:
        rows += [width - 5, width - 4, width - 2, width - 1]
    right &= (digits[rows] <= 9).all(axis=0)

    day, in_month = _days(digits)
    hour, minute, second = (_pair(digits, row) for row in (11, 14, 17))
    right &= in_month & (hour <= 23) & (minute <= 59) & (second <= 59)
    minutes = (day * 24 + hour) * 60 + minute
    if tail == _OFFSET:
        offset, in_day = _offset_minutes(characters, digits)
        right &= in_day
        minutes -= offset
    return np.where(right, (minutes * 60 + second) * 1000 + millis, NO_TIME)


def _punctuated(characters: _Characters) -> _Flags:
    separator = characters[10]
    right: _Flags = ((separator | _SMALL) == ord("t")) | (separator == ord(" "))
    for row, mark in ((4, "-"), (7, "-"), (13, ":"), (16, ":")):
        right &= characters[row] == ord(mark)
    return right


def _days(digits: _Characters) -> tuple[NDArray[np.int64], _Flags]:
    """Days since the epoch, and whether there is such a month with such a day."""
    year = _pair(digits, 0) * 100 + _pair(digits, 2)
    month, day = _pair(digits, 5), _pair(digits, 8)
    # numpy's calendar is the proleptic Gregorian one that RFC 3339 prescribes.
    months = (year - 1970) * 12 + month - 1
    first, following = (
        whole.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        for whole in (months, months + 1)
    )
    in_month = (month >= 1) & (month <= 12) & (day >= 1) & (day <= following - first)
    return first + day - 1, in_month


def _offset_minutes(
    characters: _Characters, digits: _Characters
) -> tuple[NDArray[np.int64], _Flags]:
    """Minutes east of UTC in the last six characters, and whether they are an offset at all."""
    sign = characters[-6]
    hours, minutes = _pair(digits, -5), _pair(digits, -2)
    right = ((sign == ord("+")) | (sign == ord("-"))) & (characters[-3] == ord(":"))
    right &= (hours <= 23) & (minutes <= 59)
    return np.where(sign == ord("-"), -1, 1) * (hours * 60 + minutes), right


def _pair(digits: _Characters, row: int) -> NDArray[np.int64]:
    pair: NDArray[np.int64] = digits[row] * np.int64(10) + digits[row + 1]
    return pair
