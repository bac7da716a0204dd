"""Owns panes merged ahead by the groups of questions that come again; it finishes no number.

A dashboard asks the same of the last minutes again and again, and all but the newest panes are as
they were. Merged once over source partitions and series they are a fraction of the rows. Merging is
associative, so the numbers are the same (sums up to rounding, as with any order of partitions).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from analytics.core.aggregates.combine import Part, merge
from analytics.core.aggregates.keys import KeyIndex
from analytics.core.aggregates.pane import Pane
from analytics.core.live.metric import LiveMetric
from analytics.core.query.filters import Filter
from analytics.core.query.groups import EXCLUDED, Groups, group
from analytics.core.query.request import Query

#: Of all that is kept, counting a series as a row: some 50 to 100 MB.
ROWS_MAX = 500_000
#: A grouping is worth merging for when it was asked for so often.
_ASKED_MIN = 2


class Rolled(NamedTuple):
    """A settled pane of all source partitions, with a row for each group; ids are the groups."""

    version: int
    pane: Pane


@dataclass(slots=True)
class Grouping:
    """The series of a metric in the groups of a question, and what was merged by them."""

    groups: Groups
    version: int
    """Of the series that were grouped."""
    asked: int = 0
    """Questions since the groups are these."""
    keys: KeyIndex = field(default_factory=KeyIndex)
    rolled: dict[int, Rolled] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """What it takes of ROWS_MAX."""
        return len(self.groups.of_series) + sum(each.pane.n for each in self.rolled.values())

    def regroup(self, groups: Groups, version: int) -> None:
        """Go on with other series."""
        if not groups.named_like(self.groups):
            self.asked = 0
            self.keys = KeyIndex()
            self.rolled.clear()
        self.groups, self.version = groups, version


class Reading:
    """The reading of one question from one metric. It merges one pane ahead at most.

    So a question that comes again takes little longer than before while it is prepared for.
    """

    def __init__(
        self, live: LiveMetric, grouping: Grouping, trim: Callable[[], None], *, ahead: bool
    ) -> None:
        """``ahead``: whether merged panes are of use; ``trim`` is called when there is one more."""
        self.groups = grouping.groups
        self._live = live
        self._grouping = grouping
        self._trim = trim
        self._ahead = ahead
        self._may_merge = ahead and grouping.asked >= _ASKED_MIN

    def parts(self, start_ms: int) -> Iterator[Part]:
        """The rows of the pane that the filters include, and the group of each."""
        rolled = self._rolled(start_ms) if self._ahead else None
        if rolled is not None:
            yield rolled.pane, np.arange(rolled.pane.n), rolled.pane.ids.astype(np.intp)
        else:
            yield from self._own_parts(start_ms)

    def _own_parts(self, start_ms: int) -> Iterator[Part]:
        for pane, series in self._live.members(start_ms):
            groups = self.groups.of_series[series]
            if self.groups.all_included:
                yield pane, np.arange(len(groups)), groups
            else:
                rows = np.flatnonzero(groups != EXCLUDED)
                yield pane, rows, groups[rows]

    def _rolled(self, start_ms: int) -> Rolled | None:
        """The pane merged, now or before; None for one that changes, or that others come before."""
        version = self._live.settled_version(start_ms)
        if version is None:
            return None
        known = self._grouping.rolled.get(start_ms)
        if known is not None and known.version == version:
            return known
        if not self._may_merge:
            return None
        self._may_merge = False
        rolled = self._grouping.rolled[start_ms] = Rolled(version, self._merged(start_ms))
        self._trim()
        return rolled

    def _merged(self, start_ms: int) -> Pane:
        metric, keys, groups = self._live.metric.key, self._grouping.keys, self.groups
        if not len(keys):
            keys.add(list(zip(*groups.labels, strict=True)) if groups.labels else [()])
        parts = list(self._own_parts(start_ms))
        present = np.unique(np.concatenate([part[2] for part in parts]))
        numbers = np.zeros(groups.n, np.intp)
        numbers[present] = np.arange(len(present))
        combined = merge([(pane, rows, numbers[of]) for pane, rows, of in parts], len(present))
        named = keys.keys_of(present.astype(np.int32))
        partials = combined.partials(metric, start_ms, named, topk=False)
        pane = Pane(replace(parts[0][0].spec, topk=False), start_ms, metric, keys)
        pane.replace(partials)
        pane.settle()
        return pane


class Rollups:
    """What was merged for the questions that came last."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        """Nothing yet, and never more than so many rows."""
        self._rows_max = rows_max
        #: By metric, dimensions and filters; the one asked for last comes last.
        self._kept: dict[tuple[str, tuple[str, ...], tuple[Filter, ...]], Grouping] = {}

    @property
    def rows(self) -> int:
        """Rows kept, a series that is grouped counting as one."""
        return sum(grouping.rows for grouping in self._kept.values())

    def read(self, query: Query, metric_name: str, live: LiveMetric) -> Reading:
        """Group the series of a metric for a question, or find them grouped."""
        metric, functions = query.metric(metric_name)
        asked = (metric.key, query.group_by, query.filters)
        grouping = self._kept.pop(asked, None)
        if grouping is None or grouping.version != live.series_version:
            dimensions = [each.name for each in metric.dimensions]
            groups = group(live.series, dimensions, query.group_by, query.filters)
            if grouping is None:
                grouping = Grouping(groups, live.series_version)
            else:
                grouping.regroup(groups, live.series_version)
        grouping.asked += 1
        for start_ms in grouping.rolled.keys() - live.panes.keys():
            del grouping.rolled[start_ms]
        self._kept[asked] = grouping
        self._trim()
        # Counters of the most frequent texts lose something when they are merged and kept.
        return Reading(live, grouping, self._trim, ahead="topk" not in functions)

    def _trim(self) -> None:
        while self._kept and self.rows > self._rows_max:
            del self._kept[next(iter(self._kept))]
