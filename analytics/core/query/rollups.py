"""Owns panes merged ahead by the groups of questions that come again; it finishes no number.

A dashboard asks the same of the last minutes again and again, and all but the newest panes are as
they were. Merged once over source partitions and series they are a fraction of the rows. Merging is
associative, so the numbers are the same (sums up to rounding, as with any order of partitions).
"""

from collections.abc import Iterator
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

#: Of all that is kept, and a part of it that one grouping may take with its panes.
BYTES_MAX, SHARE_MAX = 64 << 20, 0.5
GROUPINGS_MAX = 128
#: A grouping is worth merging for when it was asked for so often.
_ASKED_MIN = 2
#: Of a label or a key of a group, and of what else a grouping and a pane are.
_GROUP_BYTES, _OBJECT_BYTES = 200, 2_000


_Asked = tuple[str, tuple[str, ...], tuple[Filter, ...]]
"""Key of a metric, dimensions and filters."""


class Rolled(NamedTuple):
    """A settled pane of all source partitions, with a row for each group; ids are the groups."""

    version: int
    pane: Pane
    nbytes: int


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

    counted: int = 0
    """Bytes, when they were last counted."""

    @property
    def bytes(self) -> int:
        """What it takes of memory, roughly."""
        panes = sum(each.nbytes for each in self.rolled.values())
        groups = self.groups.of_series.nbytes + _GROUP_BYTES * self.groups.n
        return _OBJECT_BYTES + groups + panes

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

    def __init__(self, live: LiveMetric, grouping: Grouping, room_bytes: float) -> None:
        """``room_bytes`` are left for panes to be merged; negative where those are of no use."""
        self.groups = grouping.groups
        self._live = live
        self._grouping = grouping
        self._ahead = room_bytes >= 0
        self._room_bytes = room_bytes if grouping.asked >= _ASKED_MIN else 0

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
        if self._room_bytes <= 0:
            return None
        pane = self._merged(start_ms)
        rolled = Rolled(version, pane, _OBJECT_BYTES + pane.nbytes)
        if rolled.nbytes < self._room_bytes:
            self._grouping.rolled[start_ms] = rolled
        self._room_bytes = 0
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

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        """Nothing yet, and never much more than so many bytes."""
        self.bytes = 0
        self._bytes_max = bytes_max
        #: By metric, dimensions and filters; the one asked for last comes last.
        self._kept: dict[_Asked, Grouping] = {}

    @property
    def groupings(self) -> int:
        """How many groupings are kept."""
        return len(self._kept)

    @property
    def panes(self) -> int:
        """How many merged panes are kept."""
        return sum(len(grouping.rolled) for grouping in self._kept.values())

    def read(self, query: Query, metric_name: str, live: LiveMetric) -> Reading:
        """Group the series of a metric for a question, or find them grouped."""
        metric, functions = query.metric(metric_name)
        asked = (metric.key, query.group_by, query.filters)
        grouping = self._forget(asked)
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
        self._keep(asked, grouping)
        room_bytes = SHARE_MAX * self._bytes_max - grouping.counted
        # Counters of the most frequent texts lose something when they are merged and kept.
        return Reading(live, grouping, -1 if "topk" in functions else max(0, room_bytes))

    def _keep(self, asked: _Asked, grouping: Grouping) -> None:
        """Keep a grouping, and for it no longer the oldest; one that is too large is not kept."""
        grouping.counted = grouping.bytes
        if grouping.counted > SHARE_MAX * self._bytes_max:
            return
        self._kept[asked] = grouping
        self.bytes += grouping.counted
        while self.bytes > self._bytes_max or self.groupings > GROUPINGS_MAX:
            self._forget(next(iter(self._kept)))

    def _forget(self, asked: _Asked) -> Grouping | None:
        grouping = self._kept.pop(asked, None)
        if grouping is not None:
            self.bytes -= grouping.counted
        return grouping
