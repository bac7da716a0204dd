"""Phase 1 of one source partition: folds its records into open panes; pure.

`Source` is a deterministic function of the log up to `applied` (but for the wall clock, which only
bounds the watermark and refuses events from the future). It is told in one order what becomes of an
event: a line that is refused is no event, one whose id is remembered is a duplicate and is nothing
else, and of the others each metric decides which are late.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import msgspec
import numpy as np

from analytics.core import watermark
from analytics.core.aggregates.grouping import Paths, Selections, fold
from analytics.core.aggregates.keys import KeyIndex
from analytics.core.aggregates.pane import Pane, PaneSpec, Partials
from analytics.core.dedup import IDS, RememberedIds
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import Metric
from analytics.core.definitions.paths import ID
from analytics.core.events.columns import Columns

#: Keys up to which nothing is forgotten: looking costs more than they take.
_FORGET_MIN = 1024


class SourceState(msgspec.Struct, frozen=True, array_like=True):
    """What a marker keeps of a source beside its panes.

    ``closed`` has, by metric key, the start of the newest pane that was closed. All panes up to it
    are, and none may open again, even if the watermark falls: with another clock, or with longer
    settings.
    ``first_ids`` is the number of the oldest chunk of ids that counts.
    """

    highest_ms: int | None
    late: dict[str, int]
    closed: dict[str, int] = {}
    duplicates: int = 0
    first_ids: int = 0


class Folded(NamedTuple):
    """What became of a batch's events: those that count, and duplicates."""

    events: int
    duplicates: int


class PaneKey(NamedTuple):
    """Key of a metric, and where its pane starts."""

    metric: str
    start_ms: int


class OpenPane(NamedTuple):
    """A pane with the key of its metric."""

    metric: str
    start_ms: int
    pane: Pane


class Source:
    """Open panes, watermark and counters of one source partition.

    ``applied`` is the highest offset folded in, -1 while there is none. Late events are those of
    windows that had already closed here; they are counted by metric and not folded. ``duplicates``
    are events whose id was remembered, among ``dedup_ids`` at least; with 0 there are none.
    """

    def __init__(self, catalog: Catalog, disorder_ms: int, dedup_ids: int = 0) -> None:
        self.catalog = catalog
        self._disorder_ms = disorder_ms
        self.applied = -1
        self.highest_ms: int | None = None
        self.late: dict[str, int] = {}
        self.duplicates = 0
        self.ids = RememberedIds(dedup_ids)
        self._closed: dict[str, int] = {}
        #: Those without a condition first: what they find of a batch serves the others.
        self._metrics = sorted(catalog.metrics, key=lambda metric: metric.where is not None)
        self._panes: dict[str, dict[int, Pane]] = {}
        self.keys: dict[Paths, KeyIndex] = {}
        """The series of open panes and some that were, by the fields that make them."""
        #: How many keys there may be before those that are not needed are looked for.
        self._forget_at: dict[Paths, int] = {}
        self._touched: set[PaneKey] = set()
        #: Panes whose changes were taken last, and may not be published yet.
        self._taken: frozenset[PaneKey] = frozenset()
        #: Panes that were closed before the state was read, though there still were rows of them.
        self._remains: set[PaneKey] = set()

    def fold(self, columns: Columns, last_offset: int, now_ms: int) -> Folded:
        """Fold the events of consecutive records that end at ``last_offset``."""
        columns, duplicates = self._without_duplicates(columns)
        if columns.n:
            before, self.highest_ms = watermark.running(
                columns.timestamps, self.highest_ms, now_ms, self._disorder_ms
            )
            selections = Selections(columns, before)
            for metric in self._metrics:
                opener = self._opener(metric)
                selection = selections.of(metric, self._closed_until(metric))
                ids = selections.ids(metric, selection, opener.keys)
                fold(metric, selection, ids, opener)
                self._touched.update(PaneKey(metric.key, at) for at in selection.touched)
                if selection.late:
                    self.late[metric.key] = self.late.get(metric.key, 0) + selection.late
        self.duplicates += duplicates
        self.applied = last_offset
        return Folded(columns.n, duplicates)

    def _without_duplicates(self, columns: Columns) -> tuple[Columns, int]:
        """The events whose id was not remembered, and how many others there were."""
        if not self.ids.limit:
            return columns, 0
        # The codec lets no event through whose id is not a string.
        repeated = self.ids.take_in(cast("list[str]", columns.raw(ID)))
        if not repeated:
            return columns, 0
        return columns.take(np.delete(np.arange(columns.n), repeated)), len(repeated)

    def watermark_ms(self, now_ms: int) -> int:
        """Event time up to which this partition is taken to be complete."""
        return watermark.of(self.highest_ms, now_ms, self._disorder_ms)

    def take_changes(self) -> list[tuple[OpenPane, Partials]]:
        """Panes that changed since the last call, each with its changed rows."""
        changes = []
        for key, start_ms in sorted(self._touched):
            pane = self._panes[key][start_ms]
            dirty = pane.take_dirty()
            if dirty is not None:
                changes.append((OpenPane(key, start_ms, pane), dirty))
        self._taken = frozenset(self._touched)
        self._touched.clear()
        return changes

    def take_closed(self, now_ms: int) -> list[PaneKey]:
        """Remove the panes past the grace of their last window, and tell what has to be forgotten.

        A pane stays until its last changes were published, which the flush that takes them does
        only after it has written what is closed: dying in between, nobody would publish them any
        more. So it is closed by a flush that takes nothing of it, and in order of time: what is
        older than a closed pane is closed, too.
        """
        watermark_ms = self.watermark_ms(now_ms)
        closed = sorted(self._remains)
        self._remains.clear()
        for key, panes in self._panes.items():
            metric = self.catalog.by_key[key]
            for start_ms in sorted(panes):
                at = PaneKey(key, start_ms)
                busy = at in self._touched or at in self._taken
                if busy or closes_at(metric, start_ms) > watermark_ms:
                    break
                del panes[start_ms]
                self._closed[key] = start_ms
                closed.append(at)
        self._forget_keys()
        return closed

    def open_panes(self) -> Iterator[OpenPane]:
        """Every open pane."""
        for key, panes in self._panes.items():
            for start_ms, pane in panes.items():
                yield OpenPane(key, start_ms, pane)

    def state(self) -> SourceState:
        """What `restore` needs beside the panes' rows."""
        closed = dict(self._closed)
        first_ids = self.ids.first
        return SourceState(self.highest_ms, dict(self.late), closed, self.duplicates, first_ids)

    def restore(self, applied: int, state: SourceState, rows: Sequence[Partials]) -> None:
        """Become the source that wrote this; of rows written twice the later ones count.

        Panes of metrics that are no longer defined are left out: nobody could fold into them. So
        are panes that were closed. What is left of them may not be the newest: they were published
        for good, and the deletes of the newest rows may have come through alone.
        """
        self.applied = applied
        self.highest_ms = state.highest_ms
        self.late = dict(state.late)
        self._closed = dict(state.closed)
        self.duplicates = state.duplicates
        self.ids.restore(state.first_ids, [one for one in rows if one.metric == IDS])
        for partials in rows:
            metric = self.catalog.by_key.get(partials.metric)
            if metric is None:
                continue
            if metric.key in self._closed and partials.start_ms <= self._closed[metric.key]:
                self._remains.add(PaneKey(metric.key, partials.start_ms))
                continue
            self._opener(metric)(partials.start_ms).replace(partials)
        for open_pane in self.open_panes():
            open_pane.pane.take_dirty()

    def _opener(self, metric: Metric) -> "_Opener":
        keys = self.keys.setdefault(metric.dimension_paths, KeyIndex())
        return _Opener(metric, self._panes.setdefault(metric.key, {}), keys)

    def _closed_until(self, metric: Metric) -> int:
        """A watermark at which the newest pane that was closed takes no event."""
        start_ms = self._closed.get(metric.key)
        return watermark.NO_WATERMARK if start_ms is None else closes_at(metric, start_ms)

    def _forget_keys(self) -> None:
        """Let go of keys that no pane has any more, once they may be half of an index."""
        for paths, keys in self.keys.items():
            if len(keys) < self._forget_at.get(paths, _FORGET_MIN):
                continue
            panes = [
                pane
                for metric in self.catalog.metrics
                if metric.dimension_paths == paths
                for pane in self._panes.get(metric.key, {}).values()
            ]
            used = np.zeros(len(keys), np.bool_)
            for pane in panes:
                used[pane.ids] = True
            kept = np.flatnonzero(used)
            self._forget_at[paths] = max(_FORGET_MIN, 2 * len(kept))
            if len(kept) < len(keys):
                renumbered = keys.retain(kept)
                for pane in panes:
                    pane.renumber(renumbered)


def closes_at(metric: Metric, start_ms: int) -> int:
    """Watermark at which the pane at ``start_ms`` takes no more events."""
    return start_ms + metric.window.size_ms + metric.window.grace_ms


class _Opener:
    """Opens panes of one metric on demand."""

    __slots__ = ("_metric", "_panes", "keys")

    def __init__(self, metric: Metric, panes: dict[int, Pane], keys: KeyIndex) -> None:
        self.keys = keys
        self._metric = metric
        self._panes = panes

    def __call__(self, start_ms: int) -> Pane:
        pane = self._panes.get(start_ms)
        if pane is None:
            spec = PaneSpec.of(self._metric)
            pane = Pane(spec, start_ms, self._metric.key, self.keys)
            self._panes[start_ms] = pane
        return pane
