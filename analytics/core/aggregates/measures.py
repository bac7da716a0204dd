"""Owns the numeric columns of a pane: how each starts, folds and merges; it holds no state."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Rows = NDArray[np.intp]
Items = NDArray[np.int32] | Integers
"""What a sketch counts: bins or registers."""

Array = NDArray[Any]
"""int64 or float64, as COLUMNS says of the name."""

INT64 = np.dtype("<i8")
FLOAT64 = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class Measure:
    """A column that one associative and commutative ufunc both folds and merges.

    `of` turns the finite values of a batch into what is folded; a scalar stands for every event.
    """

    dtype: np.dtype[np.int64] | np.dtype[np.float64]
    initial: float
    combine: np.ufunc
    of: Callable[[Floats], Floats | int]


def _one(_: Floats) -> int:
    return 1


def _itself(values: Floats) -> Floats:
    return values


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "count": Measure(INT64, 0, np.add, _one),  # every event, also those without a value
        "values": Measure(INT64, 0, np.add, _one),  # events with a value: the divisor of `avg`
        "sum": Measure(FLOAT64, 0.0, np.add, _itself),
        "sum_sq": Measure(FLOAT64, 0.0, np.add, np.square),
        "min": Measure(FLOAT64, np.inf, np.minimum, _itself),
        "max": Measure(FLOAT64, -np.inf, np.maximum, _itself),
    }
)


@dataclass(frozen=True, slots=True)
class Extreme:
    """The value at the least or greatest timestamp: a pair of columns, `clock` and the value.

    Inside one source partition the order is (timestamp, arrival): of equal timestamps `first`
    keeps the earlier arrival and `last` takes the later one. Between partitions no order of arrival
    exists, so `merge` breaks ties by value, which keeps it commutative and associative.
    """

    clock: str
    pick: np.ufunc
    unset: int  # the clock's initial value: loses against every timestamp
    newer: np.ufunc  # whether an event may replace what is held from before the batch

    def fold(
        self, clock: Array, held: Array, rows: Rows, timestamps: Integers, values: Floats
    ) -> None:
        """Fold events in log order into the columns `clock` and `held`, in place.

        The cost depends on the events alone, not on the length of the columns. NumPy does not say
        which of several assignments to one element stays, so the winner of each row is made unique
        with a ufunc over the positions in the batch before anything is assigned.
        """
        before = clock[rows]
        self.pick.at(clock, rows, timestamps)
        places = np.flatnonzero((timestamps == clock[rows]) & self.newer(timestamps, before))
        at = rows[places]
        winner = np.empty(len(clock), np.int64)  # only the elements at `at` are ever touched
        winner[at] = self.unset
        self.pick.at(winner, at, places)
        won = winner[at] == places
        held[at[won]] = values[places[won]]

    def merge(
        self, groups: Rows, clock: Array, held: Array, n_groups: int
    ) -> tuple[Integers, Floats]:
        """The pair of columns per group, from those of many rows; (unset, nan) for no value."""
        merged_clock = np.full(n_groups, self.unset, np.int64)
        self.pick.at(merged_clock, groups, clock)
        wins = (clock == merged_clock[groups]) & (clock != self.unset)
        nothing = np.inf if self.pick is np.minimum else -np.inf
        merged = np.full(n_groups, nothing)
        self.pick.at(merged, groups[wins], held[wins])
        merged[merged_clock == self.unset] = np.nan
        return merged_clock, merged


_INT64_LIMITS = np.iinfo(np.int64)

EXTREMES: Mapping[str, Extreme] = MappingProxyType(
    {
        "first": Extreme("first_ts", np.minimum, int(_INT64_LIMITS.max), np.less),
        "last": Extreme("last_ts", np.maximum, int(_INT64_LIMITS.min), np.greater_equal),
    }
)


@dataclass(frozen=True, slots=True)
class Column:
    """The type and the value of a stored column in a row that no event has reached."""

    dtype: np.dtype[np.int64] | np.dtype[np.float64]
    initial: float


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        **{name: Column(measure.dtype, measure.initial) for name, measure in MEASURES.items()},
        **{extreme.clock: Column(INT64, extreme.unset) for extreme in EXTREMES.values()},
        **{name: Column(FLOAT64, np.nan) for name in EXTREMES},
    }
)


def columns_of(measures: Sequence[str]) -> tuple[str, ...]:
    """The stored columns of `measures`, in order: an extreme brings its clock along."""
    return tuple(
        column
        for measure in measures
        for column in ((EXTREMES[measure].clock, measure) if measure in EXTREMES else (measure,))
    )
