"""Owns what one worker holds of one metric, by pane and source partition; it stores nothing."""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Literal, TypeAlias

import numpy as np

from analytics.core.aggregates.pane import Pane, PaneSpec, Partials
from analytics.core.aggregates.rows import grown
from analytics.core.definitions.metric import Metric
from analytics.core.live.series import Codes, SeriesIndex
from analytics.core.watermark import NO_WATERMARK, SourceProgress, combine

State: TypeAlias = Literal["open", "revised", "final"]
"""How settled numbers are: events may still come, came after all were in, or are all in."""


_versions = count()


class LiveMetric:
    """The latest partials of every source partition, ready to be asked.

    Not thread-safe: its caller applies and asks from one thread. A source that says the same twice
    changes nothing. Of one flush, apply the partials before its progress is reported: a source's
    progress promises that everything before it has been applied.
    """

    def __init__(self, metric: Metric) -> None:
        """Nothing held yet, and no watermark."""
        self.metric = metric
        self.version = next(_versions)
        """Of what it holds: never the same after a change, nor that of another metric."""
        self.series = SeriesIndex(len(metric.dimensions))
        self.series_version = self.version
        """Of `series`, likewise."""
        self.panes: dict[int, dict[int, Pane]] = {}
        """By start (epoch ms), then by source partition."""
        self.late: dict[int, int] = {}
        """By source partition, how many of its events came too late; cumulative."""
        self.revised: set[int] = set()
        """The starts of the panes that changed after a window they are part of was final."""
        self._spec = PaneSpec.of(metric)
        self._latest_ms = np.empty(0, np.int64)  # by series, the start of its latest pane
        self._unsettled: set[int] = set()  # the starts of the panes that changed, until they end
        self._oldest_ms: int | None = None  # the start of the oldest pane
        self._pane_versions: dict[int, int] = {}  # by start, of the panes there
        self._progress: dict[int, SourceProgress] = {}
        self._sources = 0
        self._watermark_ms = NO_WATERMARK

    # --- writing --------------------------------------------------------------------------------

    def apply(self, source: int, partials: Partials) -> None:
        """Put rows of a source partition in the place of those it sent before, the last one wins.

        The caller sees to it that older partials never come after newer ones. A pane past its
        retention is not opened again. ValueError if the partials are not of this metric; nothing
        has changed then.
        """
        if partials.metric != self.metric.key:
            raise ValueError(f"partials of {partials.metric} are not those of {self.metric.key}")
        start_ms = partials.start_ms
        held = self.panes.get(start_ms, {})
        if not held and self._is_expired(start_ms):
            return
        self.version = next(_versions)
        pane = held.get(source) or Pane(self._spec, start_ms, self.metric.key, self.series.index)
        known = pane.n
        closed = self._watermark_ms >= start_ms + self.metric.window.pane_ms
        before = pane.column("count").copy() if closed else None
        rows = pane.replace(partials)
        self.panes.setdefault(start_ms, {})[source] = pane
        self._unsettled.add(start_ms)
        self._pane_versions[start_ms] = self.version
        self._oldest_ms = min(start_ms, start_ms if self._oldest_ms is None else self._oldest_ms)
        if pane.n > known:
            self._see(pane, known)
        # Every event raises the count of its row, so rows with equal counts are equal: a replay.
        if before is not None and (
            pane.n > known or not np.array_equal(pane.column("count")[rows], before[rows])
        ):
            self.revised.add(start_ms)

    def report(self, source: int, progress: SourceProgress) -> None:
        """Take the latest watermark and idle flag of a source partition."""
        self._progress[source] = progress
        self.version = next(_versions)

    def resume(self, watermark_ms: int, sources: int) -> None:
        """Go on from a watermark that was reached before, with so many sources."""
        self._sources, self._watermark_ms = sources, watermark_ms
        self.version = next(_versions)

    def evict(self, sources: int) -> dict[int, list[int]]:
        """Drop the panes past retention, and return the sources of each by its start, rising."""
        self.watermark_ms(sources)
        self._settle()
        if self._oldest_ms is None or not self._is_expired(self._oldest_ms):
            return {}
        expired = sorted(filter(self._is_expired, self.panes))
        evicted = {start_ms: list(self.panes.pop(start_ms)) for start_ms in expired}
        for start_ms in expired:
            del self._pane_versions[start_ms]
            self.revised.discard(start_ms)
        self._oldest_ms = min(self.panes, default=None)
        self._forget_series()
        self.version = next(_versions)
        return evicted

    # --- reading --------------------------------------------------------------------------------

    def watermark_ms(self, sources: int) -> int:
        """Event time before which everything is in; NO_WATERMARK while one of `sources` is silent.

        Kept from falling when an idle source wakes up behind the others, because what was called
        final must not be open again. Only more sources than ever before start it anew. `state` and
        `apply` go by the watermark last returned, so call this after every round of reports.
        """
        if sources > self._sources:
            self._sources, self._watermark_ms = sources, NO_WATERMARK
        if not self.silent:
            self._watermark_ms = max(self._watermark_ms, combine(self._progress.values()))
        return self._watermark_ms

    @property
    def silent(self) -> int:
        """How many of the source partitions have not reported yet."""
        return max(0, self._sources - len(self._progress))

    def settled_version(self, start_ms: int) -> int | None:
        """The version of the panes at a start; None where there are none, or they still change."""
        return None if start_ms in self._unsettled else self._pane_versions.get(start_ms)

    def state(self, start_ms: int) -> State:
        """How settled a pane is, with regard to the last of the windows that it is part of."""
        window = self.metric.window
        last_ms = start_ms // window.advance_ms * window.advance_ms
        return self.state_of((start_ms,), last_ms + window.size_ms)

    def state_of(self, starts: Iterable[int], end_ms: int) -> State:
        """How settled the merge of the panes at `starts` into a bucket that ends at `end_ms` is."""
        if self._watermark_ms < end_ms:
            return "open"
        return "final" if self.revised.isdisjoint(starts) else "revised"

    @property
    def late_events(self) -> int:
        """How many events of all source partitions came too late."""
        return sum(self.late.values())

    @property
    def overflowed(self) -> int:
        """How many events of the panes held went to the series `__other__`."""
        return sum(pane.overflowed for held in self.panes.values() for pane in held.values())

    def members(self, start_ms: int) -> Iterator[tuple[Pane, Codes]]:
        """The panes of all source partitions, each with the series id of every row."""
        for pane in self.panes[start_ms].values():
            yield pane, pane.ids

    # --- series ---------------------------------------------------------------------------------

    def _see(self, pane: Pane, known: int) -> None:
        """Remember that the series of a pane's rows from `known` on have that pane."""
        added = pane.ids[known:]
        self.series_version = self.version
        already = min(len(self._latest_ms), len(self.series))
        self._latest_ms = grown(self._latest_ms, len(self.series))
        self._latest_ms[already:] = NO_WATERMARK
        self._latest_ms[added] = np.maximum(self._latest_ms[added], pane.start_ms)

    def _forget_series(self) -> None:
        """Renumber the series once half of them have no pane left: the dead ones must not leak."""
        latest_ms, oldest_ms = self._latest_ms[: len(self.series)], self._oldest_ms
        alive = (
            np.flatnonzero(latest_ms >= oldest_ms) if oldest_ms is not None else np.empty(0, int)
        )
        if len(alive) > len(latest_ms) // 2:
            return
        renumbered = self.series.retain(alive)
        self.series_version = self.version = next(_versions)
        self._latest_ms = latest_ms[alive]
        for held in self.panes.values():
            for pane in held.values():
                pane.renumber(renumbered)

    def _settle(self) -> None:
        """Spare what finds the rows of panes that have ended, as little more is to be expected."""
        pane_ms = self.metric.window.pane_ms
        ended = [at for at in self._unsettled if at + pane_ms <= self._watermark_ms]
        for start_ms in ended:
            for pane in self.panes.get(start_ms, {}).values():
                pane.settle()
        self._unsettled.difference_update(ended)

    def _is_expired(self, start_ms: int) -> bool:
        end_ms = start_ms + self.metric.window.size_ms + self.metric.retention_ms
        return end_ms <= self._watermark_ms
