"""Owns the questions that ask for the whole year of flights, within the limits of a question."""

from collections.abc import Sequence

import polars as pl

from tests.services.asking import Asking

WHOLE_YEAR = {"from": "2013-01-01T00:00:00Z", "to": "2014-01-02T00:00:00Z"}

#: Two slices, because an answer may have 100,000 rows.
_HALVES = (
    {"from": "2013-01-01T00:00:00Z", "to": "2013-07-01T00:00:00Z"},
    {"from": "2013-07-01T00:00:00Z", "to": "2014-01-02T00:00:00Z"},
)


def year_by(step: str, asking: Asking, keys: Sequence[str]) -> pl.DataFrame:
    """Every aggregate of `departures` by buckets of ``step`` (`1h` or more) and ``keys``."""
    parts = [asking.table(_question(keys, half) | {"step": step}) for half in _HALVES]
    return pl.concat(parts)


def year_in_one(asking: Asking, keys: Sequence[str]) -> pl.DataFrame:
    """Every aggregate of `departures` over the year by ``keys``; the timestamp is 0."""
    whole = asking.table(_question(keys, WHOLE_YEAR))
    return whole.with_columns(timestamp=pl.lit(0, pl.Int64))


def _question(keys: Sequence[str], time_range: dict[str, str]) -> dict[str, object]:
    return {
        "metrics": ["departures"],
        "groupBy": list(keys),
        "timeRange": time_range,
        "limit": 100_000,
    }
