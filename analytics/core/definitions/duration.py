"""Owns how spans of time are written by people: `250ms`, `10s`, `5m`, `1h`, `30d`."""

import re
from typing import Final

_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION: Final = re.compile(r"([0-9]{1,15})(ms|[smhd])")

DURATION_MS_MAX: Final = 400 * _UNITS_MS["d"]


def parse_duration(text: object, *, zero: bool = False) -> int:
    """Read a duration into milliseconds: above 0 (or 0, where `zero`), at most 400 days.

    A bare number is refused, because its unit would be a guess. Raises ValueError with the rule
    that the text breaks.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("must be a duration such as 10s")
    duration_ms = int(match[1]) * _UNITS_MS[match[2]]
    if duration_ms > DURATION_MS_MAX:
        raise ValueError("must be a duration of at most 400d")
    if duration_ms == 0 and not zero:
        raise ValueError("must be a duration longer than zero")
    return duration_ms


def format_duration(duration_ms: int) -> str:
    """Write milliseconds in the largest unit that holds them exactly: 90,000 is `90s`."""
    if duration_ms == 0:
        return "0s"
    unit, size_ms = next(item for item in _UNITS_MS.items() if duration_ms % item[1] == 0)
    return f"{duration_ms // size_ms}{unit}"
