"""Phase 2 of one partition of `partials`: the newest rows of every source, by metric; pure.

Deliveries may repeat, and come from an owner that has been replaced: `Merge` keeps what is newest
by `(epoch, applied)` of each source partition, so neither changes a result.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from analytics.core.aggregates.pane import Pane, Partials
from analytics.core.definitions.catalog import Catalog
from analytics.core.delivery import Delivery, Stamp
from analytics.core.live.metric import LiveMetric
from analytics.core.watermark import NO_WATERMARK, SourceProgress


class SourceReport(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a source partition beside its rows."""

    epoch: int
    applied: int
    watermark_ms: int
    idle: bool
    late: dict[str, int]
    #: ``applied`` of the newest flush of which every delivery is here.
    complete: int = -1


class MergeState(msgspec.Struct, frozen=True, array_like=True):
    """What a marker keeps of a merge beside its panes' rows."""

    reports: dict[int, SourceReport]
    revised: dict[str, list[int]]
    #: By metric key: what was called final stays so, even where reports have fallen behind it.
    watermarks: dict[str, int] = {}
    #: How many source partitions there were.
    sources: int = 0


class MergedPane(NamedTuple):
    """A pane with its metric's key and its source partition."""

    metric: str
    start_ms: int
    source: int
    pane: Pane


class Merge:
    """The live metrics of one partition of `partials`.

    ``catalog`` has the metrics that this partition carries, ``sources`` is the number of source
    partitions, each of which must report before a window can be final. ``applied`` is the highest
    offset of the partition taken in, -1 while there is none.
    """

    def __init__(self, catalog: Catalog, sources: int) -> None:
        self.catalog = catalog
        self._sources = sources
        self.applied = -1
        self.metrics: dict[str, LiveMetric] = {}
        self.unknown = 0
        self._reports: dict[int, SourceReport] = {}
        self._touched: set[tuple[str, int, int]] = set()
        #: Panes that are gone here and not yet told to be.
        self._evicted: list[tuple[str, int, int]] = []

    def take(self, delivery: Delivery) -> bool:
        """Take a delivery in; False when a newer one of its source was there already."""
        known = self._reports.get(delivery.source)
        if known is not None:
            if delivery.stamp < Stamp(known.epoch, known.applied):
                return False
            if delivery.epoch > known.epoch and delivery.applied < known.complete:
                # Its predecessor came further after this one had read the state. What a source's
                # rows are at an offset does not depend on who folds them: keep the newer ones, for
                # which the watermark vouches, until the new owner has caught up with them.
                self._report(delivery.source, _adopted(known, delivery.epoch))
                return False
        # Rows before the watermark they justify: a window must not look final without its last.
        for partials in delivery.partials:
            self._apply(delivery.source, partials)
        self._report(delivery.source, _report_of(delivery, known))
        return True

    def advance(self, offset: int) -> None:
        """Records up to ``offset`` are taken in (or were not worth it)."""
        self.applied = offset

    @property
    def changed(self) -> bool:
        """Whether rows came since `take_changes` was last called."""
        return bool(self._touched)

    def take_changes(self) -> list[tuple[MergedPane, Partials]]:
        """Panes that changed since the last call, each with its changed rows.

        Those past retention go first: whoever takes the changes may have to read such a pane whole,
        and its series are forgotten with it.
        """
        self._evict()
        changes = []
        for key, start_ms, source in sorted(self._touched):
            pane = self.metrics[key].panes.get(start_ms, {}).get(source)
            dirty = None if pane is None else pane.take_dirty()
            if pane is not None and dirty is not None:
                changes.append((MergedPane(key, start_ms, source, pane), dirty))
        self._touched.clear()
        return changes

    def take_evicted(self) -> list[tuple[str, int, int]]:
        """Drop panes past their metric's retention; (metric key, start, source) of each."""
        self._evict()
        evicted, self._evicted = self._evicted, []
        return evicted

    def state(self) -> MergeState:
        """What `restore` needs beside the panes' rows."""
        revised = {key: sorted(live.revised) for key, live in self.metrics.items() if live.revised}
        watermarks = {key: live.watermark_ms(self._sources) for key, live in self.metrics.items()}
        return MergeState(dict(self._reports), revised, watermarks, self._sources)

    def restore(
        self, applied: int, state: MergeState, rows: Iterable[tuple[int, Partials]]
    ) -> None:
        """Become the merge that wrote this; ``rows`` are (source, rows), later ones count."""
        self.applied = applied
        for source, partials in rows:
            self._apply(source, partials)
        self._touched.clear()
        for merged in self._panes():
            merged.pane.take_dirty()
        for key, watermark_ms in state.watermarks.items():
            if key in self.metrics:
                self.metrics[key].resume(watermark_ms, state.sources)
        for source, report in state.reports.items():
            self._report(source, report)
        for key, starts in state.revised.items():
            if key in self.metrics:
                self.metrics[key].revised = set(starts)
        # What is left of panes that were gone may not be their newest rows.
        self._evict()

    def _evict(self) -> None:
        for key, live in self.metrics.items():
            for start_ms, sources in live.evict(self._sources).items():
                self._evicted.extend((key, start_ms, source) for source in sources)

    def _panes(self) -> Iterator[MergedPane]:
        for key, live in self.metrics.items():
            for start_ms, panes in live.panes.items():
                for source, pane in panes.items():
                    yield MergedPane(key, start_ms, source, pane)

    def _apply(self, source: int, partials: Partials) -> None:
        live = self._live(partials.metric)
        if live is None:
            self.unknown += 1
            return
        live.apply(source, partials)
        self._touched.add((partials.metric, partials.start_ms, source))

    def _report(self, source: int, report: SourceReport) -> None:
        self._reports[source] = report
        progress = SourceProgress(report.watermark_ms, report.idle)
        for metric in self.catalog.metrics:
            live = self._live(metric.key)
            if live is not None:
                live.report(source, progress)
                live.watermark_ms(self._sources)
                live.late[source] = report.late.get(metric.key, 0)

    def _live(self, key: str) -> LiveMetric | None:
        live = self.metrics.get(key)
        metric = self.catalog.by_key.get(key)
        if live is None and metric is not None:
            live = self.metrics[key] = LiveMetric(metric)
        return live


def _adopted(known: SourceReport, epoch: int) -> SourceReport:
    """What was known of a source, under its new owner."""
    return msgspec.structs.replace(known, epoch=epoch, applied=known.complete)


def _report_of(delivery: Delivery, known: SourceReport | None) -> SourceReport:
    """What a delivery says of its source: with ``more`` to come, no more than was known."""
    told: Delivery | SourceReport = delivery
    complete = delivery.applied
    if delivery.more:
        told = known or SourceReport(0, -1, NO_WATERMARK, idle=False, late={})
        complete = told.complete
    return SourceReport(
        epoch=delivery.epoch,
        applied=delivery.applied,
        watermark_ms=told.watermark_ms,
        idle=told.idle,
        late=told.late,
        complete=complete,
    )
