"""Owns the few statistics of repeated measurements; it must not know what was measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the extremes of a figure over its repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value; ValueError for none."""
        if not values:
            raise ValueError("a spread needs at least one value")
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        middle = figure(self.median)
        if self.low == self.high:
            return middle
        return f"{middle} ({figure(self.low)} to {figure(self.high)})"


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that at least `percent` of all values do not exceed (nearest rank).

    A value that was measured, never one between two; the 100th is the greatest. ValueError for no
    values or a percent outside (0, 100].
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no percentile {percent} of {len(values)} values")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def figure(value: float) -> str:
    """Three significant digits, and whole numbers from 100 on, with commas."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    decimals = 2 if abs(value) < 9.995 else 1
    return f"{value:.{decimals}f}"
