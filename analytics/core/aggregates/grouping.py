"""Owns the way of a batch of events into a metric's panes: filter, lateness, order; no state."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates import distinct
from analytics.core.aggregates.measures import Array, Integers
from analytics.core.aggregates.pane import Batch, Pane
from analytics.core.aggregates.rows import Key
from analytics.core.definitions import filtering
from analytics.core.definitions.metric import Metric
from analytics.core.events.columns import Columns

OpenPane = Callable[[int], Pane]
"""The pane that starts at a time, created if need be."""

_UINT16_MAX = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What became of the events that the metric's `where` lets through."""

    folded: int
    late: int
    touched: tuple[int, ...]  # starts of the panes folded into, rising


def fold(
    metric: Metric, columns: Columns, open_pane: OpenPane, watermarks: Integers | int
) -> FoldResult:
    """Fold the events of a batch into the panes they belong to, keeping log order in each pane.

    An event is late, and left out, when its last window with its grace had ended at the watermark
    before it: pane start + size + grace <= watermark. `watermarks` holds that of each event (see
    watermark.running), or is one for all.
    """
    window = metric.window
    timestamps = columns.timestamps
    starts = timestamps - timestamps % window.pane_ms
    on_time = starts + (window.size_ms + window.grace_ms) > watermarks
    if metric.where is None:
        accepted, matching = on_time, columns.n
    else:
        mask = filtering.mask(metric.where, columns)
        accepted, matching = mask & on_time, int(np.count_nonzero(mask))
    index = np.flatnonzero(accepted)
    touched, sizes, order = _by_pane(starts[index], window.pane_ms)
    if len(index) < columns.n or order is not None:
        columns = columns.take(index if order is None else index[order])
    for start_ms, batch in zip(touched, _batches(metric, columns, sizes), strict=True):
        open_pane(start_ms).fold(batch)
    return FoldResult(len(index), matching - len(index), tuple(touched))


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
    first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 1))
    sizes = np.diff(first, append=len(starts))
    return starts[first].tolist(), sizes.tolist(), order


def _small(starts: Integers, pane_ms: int) -> Array:
    """The pane numbers from the least, in 16 bits where they fit: NumPy then sorts by radix."""
    numbers: Integers = (starts - starts.min()) // pane_ms
    return numbers.astype(np.uint16) if numbers.max() <= _UINT16_MAX else numbers


def _batches(metric: Metric, columns: Columns, sizes: Iterable[int]) -> Iterator[Batch]:
    """Cut the columns, ordered by pane, into one batch for each of `sizes`."""
    texts = [columns.strings(dimension.path) for dimension in metric.dimensions]
    keys: Iterator[Key] = zip(*texts, strict=True) if texts else repeat(())
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
    for size in sizes:
        part = slice(first, first + size)
        yield Batch(
            keys=islice(keys, size),
            timestamps=columns.timestamps[part],
            values=None if values is None else values[part],
            distinct=None
            if registers is None
            else (registers[0][part], registers[1][part], registers[2][part]),
            topk=None if counted is None else counted[part],
        )
        first += size
