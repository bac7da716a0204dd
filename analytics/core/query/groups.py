"""Owns which group each series is in, and what the groups are called; it reads no pane."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.core.live.series import SeriesIndex
from analytics.core.query.filters import Filter

EXCLUDED = -1
"""In the place of a group, for a series that the filters leave out."""

_CODE_MAX = 2**62


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a question: which one each series is in, and what they are called.

    `of_series` holds a group number by series id, or EXCLUDED. `labels` has for each groupBy
    dimension the texts by group. Groups are numbered in the order of their labels.
    """

    of_series: NDArray[np.int64]
    labels: tuple[NDArray[Any], ...]
    n: int
    all_included: bool

    def named_like(self, other: "Groups") -> bool:
        """Whether the groups of both have the same names, and so the same numbers."""
        return self.n == other.n and all(map(np.array_equal, self.labels, other.labels))


def group(
    index: SeriesIndex,
    dimensions: Sequence[str],
    group_by: Sequence[str],
    filters: Sequence[Filter],
) -> Groups:
    """Decide for every series which group it is in, by its dictionary codes alone."""
    included = _included(index, dimensions, filters)
    codes = np.zeros(len(index), np.int64)
    width = 1
    for name in group_by:
        dimension = dimensions.index(name)
        ranks = index.ranks(dimension)
        if width * max(1, len(ranks)) > _CODE_MAX:
            distinct, codes = np.unique(codes, return_inverse=True)
            width = len(distinct)
        codes = codes * len(ranks) + ranks[index.codes(dimension)]
        width *= max(1, len(ranks))
    series = np.flatnonzero(included)
    # One series stands for its group: its labels are the group's.
    found, examples, numbers = np.unique(codes[series], return_index=True, return_inverse=True)
    of_series = np.full(len(index), EXCLUDED, np.int64)
    of_series[series] = numbers
    labels = tuple(_texts(index, dimensions.index(name), series[examples]) for name in group_by)
    return Groups(of_series, labels, len(found), len(series) == len(index))


def _included(
    index: SeriesIndex, dimensions: Sequence[str], filters: Sequence[Filter]
) -> NDArray[np.bool_]:
    included = np.ones(len(index), np.bool_)
    for each in filters:
        dimension = dimensions.index(each.field)
        included &= each.accepts(index.labels(dimension))[index.codes(dimension)]
    return included


def _texts(index: SeriesIndex, dimension: int, series: NDArray[np.intp]) -> NDArray[Any]:
    labels = index.labels(dimension)
    codes = index.codes(dimension)[series].tolist()
    return np.fromiter((labels[code] for code in codes), object, len(codes))
