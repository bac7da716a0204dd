"""Owns what tests of aggregates share: events, panes of them, and the naive loop as oracle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from analytics.core.aggregates import distinct, quantiles, topk
from analytics.core.aggregates.keys import Key
from analytics.core.aggregates.measures import COLUMNS
from analytics.core.aggregates.pane import OTHER, Batch, Pane, PaneSpec

ALL_MEASURES = ("count", "values", "sum", "sum_sq", "min", "max", "first", "last")


class Event(NamedTuple):
    """What a pane sees of an event; None is a missing value, the empty text a missing text."""

    key: Key
    timestamp: int = 0
    value: float | None = None
    text: str = ""


def spec(
    measures: tuple[str, ...] = ALL_MEASURES,
    *,
    sketches: bool = True,
    dimensions: int = 1,
    max_series: int = 1000,
) -> PaneSpec:
    """A specification of everything, unless told otherwise."""
    return PaneSpec(measures, sketches, sketches, sketches, dimensions, max_series)


def fold(pane: Pane, events: Sequence[Event]) -> None:
    """Fold the events, the text as both the distinct and the top-k field."""
    pane.fold(_batch(pane, events))


def _batch(pane: Pane, events: Sequence[Event]) -> Batch:
    texts = [event.text for event in events]
    return Batch(
        ids=pane.series.ids((event.key for event in events), len(events)),
        timestamps=np.array([event.timestamp for event in events], np.int64),
        values=np.array(
            [math.nan if event.value is None else event.value for event in events], np.float64
        ),
        distinct=(*distinct.registers(texts), np.array([text != "" for text in texts], np.bool_)),
        topk=texts,
    )


def folded(events: Sequence[Event], pane_spec: PaneSpec | None = None) -> Pane:
    """A pane of the events."""
    pane = Pane(pane_spec or spec(), 0, "metric@1")
    fold(pane, events)
    return pane


@dataclass
class Row:
    """One series as plain Python values; every field compares, so nan is None here."""

    columns: dict[str, float | None] = field(default_factory=dict)
    bins: dict[int, int] = field(default_factory=dict)
    registers: dict[int, int] = field(default_factory=dict)
    topk: dict[str, int] = field(default_factory=dict)


State = dict[Key, Row]


def state(pane: Pane) -> State:
    """Everything that a pane of `spec()` holds, by key."""
    names = [name for name in COLUMNS if _keeps(pane, name)]
    bins, registers = (_entries(pane, which) for which in ("bins", "registers"))
    return {
        key: Row(
            {name: _plain(pane.column(name)[row].item()) for name in names},
            bins[row],
            registers[row],
            dict(pane.topk(row)) if pane.spec.topk else {},
        )
        for row, key in enumerate(pane.keys)
    }


def naive(events: Sequence[Event], max_series: int = 1000) -> tuple[State, int]:
    """(what a pane of `spec()` must hold, the events overflowed): one event after the other."""
    rows: State = {}
    overflowed = 0
    for event in events:
        key, other = event.key, (OTHER,) * len(event.key)
        if key not in rows and key != other and len(rows.keys() - {other}) >= max_series:
            key, overflowed = other, overflowed + 1
        row = rows.setdefault(key, Row({name: column.initial for name, column in COLUMNS.items()}))
        _fold_one(row, event)
    for row in rows.values():
        row.columns = {name: _plain(value) for name, value in row.columns.items()}
    return rows, overflowed


def _fold_one(row: Row, event: Event) -> None:
    held = {name: value for name, value in row.columns.items() if value is not None}
    held["count"] += 1
    value = event.value
    if value is not None and math.isfinite(value):
        held["values"] += 1
        held["sum"] += value
        held["sum_sq"] += value * value
        held["min"] = min(held["min"], value)
        held["max"] = max(held["max"], value)
        if event.timestamp < held["first_ts"]:
            held["first_ts"], held["first"] = event.timestamp, value
        if event.timestamp >= held["last_ts"]:
            held["last_ts"], held["last"] = event.timestamp, value
        item = int(quantiles.bins(np.array([value]))[0])
        row.bins[item] = row.bins.get(item, 0) + 1
    row.columns = dict(held)
    if event.text:
        items, ranks = distinct.registers([event.text])
        register, rank = int(items[0]), int(ranks[0])
        row.registers[register] = max(row.registers.get(register, 0), rank)
        row.topk[event.text] = row.topk.get(event.text, 0) + 1
        if len(row.topk) > topk.COUNTERS_MAX:
            row.topk = topk.pruned(row.topk)


def _keeps(pane: Pane, name: str) -> bool:
    try:
        pane.column(name)
    except KeyError:
        return False
    return True


def _entries(pane: Pane, which: str) -> list[dict[int, int]]:
    if not getattr(pane.spec, which):
        return [{} for _ in range(pane.n)]
    lengths, items, values = getattr(pane, which)(np.arange(pane.n))
    ends = np.cumsum(lengths)
    return [
        dict(
            zip(
                items[end - length : end].tolist(), values[end - length : end].tolist(), strict=True
            )
        )
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]


def _plain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
