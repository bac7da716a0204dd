"""Owns the way of a batch of events into a metric's panes: filter, lateness, order; no state."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from operator import sub

import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates import distinct
from analytics.core.aggregates.keys import Ids, KeyIndex
from analytics.core.aggregates.measures import Array, Integers
from analytics.core.aggregates.pane import Batch, Pane
from analytics.core.definitions import filtering
from analytics.core.definitions.metric import Metric, Window
from analytics.core.definitions.paths import FieldPath
from analytics.core.events.columns import Columns
from analytics.core.watermark import NO_WATERMARK

OpenPane = Callable[[int], Pane]
"""The pane that starts at a time, created if need be."""

_INT64_MAX = np.iinfo(np.int64).max
_UINT16_MAX = np.iinfo(np.uint16).max


Paths = tuple[FieldPath, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """The events of a batch that a condition lets through in time, ordered by pane."""

    columns: Columns
    index: NDArray[np.intp] | None
    """Which events of the batch they are; None for all in the order of the batch."""
    touched: tuple[int, ...]
    """Starts of the panes that they belong to, rising."""
    sizes: list[int]
    """How many belong to each."""
    late: int
    """Events that meet the condition and came too late."""


class Selections:
    """What the metrics take of one batch, made once for all that take the same."""

    def __init__(self, columns: Columns, watermarks: Integers | int) -> None:
        """`watermarks` holds the one before each event (see watermark.running), or one for all."""
        self._columns = columns
        self._watermarks = watermarks
        self._lowest = int(np.min(watermarks, initial=_INT64_MAX))
        self._made: dict[tuple[str, Window, int], Selection] = {}
        self._ids: dict[Paths, Ids] = {}

    def of(self, metric: Metric, floor_ms: int = NO_WATERMARK) -> Selection:
        """The events of a metric, in log order in each pane.

        An event is late, and left out, when its last window with its grace had ended at the
        watermark before it: pane start + size + grace <= watermark. No watermark is taken to be
        below `floor_ms`.
        """
        floor_ms = max(floor_ms, self._lowest)
        asked = (metric.where_text, metric.window, floor_ms)
        if asked not in self._made:
            self._made[asked] = self._make(metric, floor_ms)
        return self._made[asked]

    def ids(self, metric: Metric, selection: Selection, keys: KeyIndex) -> Ids:
        """The series of each event selected for the metric, as `keys` numbers them.

        Looking series up is what costs most, so it is done once for all metrics of the same
        dimensions; but while all of these have conditions, only for the events that meet them.
        """
        paths = metric.dimension_paths
        whole = self._ids.get(paths)
        if whole is None and metric.where is None:
            whole = self._ids[paths] = _ids(self._columns, paths, keys)
        if whole is None:
            return _ids(selection.columns, paths, keys)
        return whole if selection.index is None else whole[selection.index]

    def _make(self, metric: Metric, floor_ms: int) -> Selection:
        columns, window = self._columns, metric.window
        timestamps = columns.timestamps
        starts = timestamps - timestamps % window.pane_ms
        watermarks = np.maximum(self._watermarks, floor_ms)
        accepted = starts + (window.size_ms + window.grace_ms) > watermarks
        matching = columns.n
        if metric.where is not None:
            mask = filtering.mask(metric.where, columns)
            accepted, matching = mask & accepted, int(np.count_nonzero(mask))
        index = np.flatnonzero(accepted)
        touched, sizes, order = _by_pane(starts[index], window.pane_ms)
        late = matching - len(index)
        if len(index) == columns.n and order is None:
            return Selection(columns, None, tuple(touched), sizes, late)
        if order is not None:
            index = index[order]
        return Selection(columns.take(index), index, tuple(touched), sizes, late)


def _ids(columns: Columns, paths: Paths, keys: KeyIndex) -> Ids:
    texts = [columns.strings(path) for path in paths]
    return keys.ids(zip(*texts, strict=True) if texts else repeat(()), columns.n)


def fold(metric: Metric, selection: Selection, ids: Ids, open_pane: OpenPane) -> None:
    """Fold selected events, of the series `ids`, into the panes they belong to."""
    batches = _batches(metric, selection, ids)
    for start_ms, batch in zip(selection.touched, batches, strict=True):
        open_pane(start_ms).fold(batch)


def _by_pane(
    starts: Integers, pane_ms: int
) -> tuple[list[int], list[int], NDArray[np.intp] | None]:
    """(pane starts rising, events of each, the stable order by pane or None if they are in it)."""
    if not starts.size:
        return [], [], None
    order = None
    if (starts[1:] < starts[:-1]).any():
        order = np.argsort(_small(starts, pane_ms), kind="stable")
        starts = starts[order]
    ends = [*(np.flatnonzero(starts[1:] != starts[:-1]) + 1).tolist(), len(starts)]
    first = [0, *ends[:-1]]
    return starts[first].tolist(), list(map(sub, ends, first)), order


def _small(starts: Integers, pane_ms: int) -> Array:
    """The pane numbers from the least, in 16 bits where they fit: NumPy then sorts by radix."""
    numbers: Integers = (starts - starts.min()) // pane_ms
    return numbers.astype(np.uint16) if numbers.max() <= _UINT16_MAX else numbers


def _batches(metric: Metric, selection: Selection, ids: Ids) -> Iterator[Batch]:
    """Cut the selected events, ordered by pane, into one batch for each pane."""
    columns = selection.columns
    values = None if metric.value is None else columns.numbers(metric.value)
    registers = None
    if metric.has_registers and metric.distinct is not None:
        seen = columns.strings(metric.distinct)
        present = np.fromiter(map(bool, seen), np.bool_, columns.n)
        registers = (*distinct.registers(seen), present)
    counted = None
    if metric.has_topk and metric.topk is not None:
        counted = columns.strings(metric.topk)
    first = 0
    for size in selection.sizes:
        part = slice(first, first + size)
        yield Batch(
            ids=ids[part],
            timestamps=columns.timestamps[part],
            values=None if values is None else values[part],
            distinct=None
            if registers is None
            else (registers[0][part], registers[1][part], registers[2][part]),
            topk=None if counted is None else counted[part],
        )
        first += size
