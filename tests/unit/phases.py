"""Owns a catalog, events and sources of them, for tests of both phases; asserts nothing."""

from collections.abc import Mapping, Sequence
from functools import cache

import orjson

from analytics.core.aggregates.pane import Pane, Partials
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import parse_metrics
from analytics.core.delivery import Delivery
from analytics.core.events.codec import Decoded, EventCodec, EventLimits
from analytics.core.source import Folded, Source

S = 1_000
"""One second in ms."""
NOW_MS = 10_000 * S
DISORDER_MS = 1 * S


def catalog(name: str = "visits", **changes: object) -> Catalog:
    """One metric: counts by event source in windows of 10 s, with 5 s of grace."""
    definition: dict[str, object] = {
        "dimensions": ["source"],
        "aggregations": ["count"],
        "window": {"size": "10s", "grace": "5s"},
        "retention": "1m",
    }
    return Catalog(parse_metrics({"metrics": {name: definition | changes}}, "metrics.yaml"))


CATALOG = catalog()
VISITS = CATALOG.metrics[0]


def event(at_ms: int, series: str = "a", event_id: str = "1") -> bytes:
    """One line of the events topic."""
    return orjson.dumps({"id": event_id, "timestamp": at_ms, "type": "visit", "source": series})


def source(of: Catalog = CATALOG, disorder_ms: int = DISORDER_MS, dedup_ids: int = 0) -> Source:
    """A source that has read nothing."""
    return Source(of, disorder_ms, dedup_ids)


_codec = cache(EventCodec)


def fold(
    into: Source, values: Sequence[bytes | None], last_offset: int, now_ms: int = NOW_MS
) -> tuple[Decoded, Folded]:
    """Decode and fold the values of records that end at ``last_offset``."""
    decoded = _codec(into.catalog.fields, EventLimits()).decode(values, now_ms)
    return decoded, into.fold(decoded.columns, last_offset, now_ms)


def read(into: Source, *events: tuple[int, str], now_ms: int = NOW_MS) -> None:
    """Fold events, one a record, that follow on what was folded."""
    values = [event(at_ms, series) for at_ms, series in events]
    fold(into, values, into.applied + len(values), now_ms)


def rows(pane: Pane) -> dict[str, int]:
    """Counts by series."""
    return dict(
        zip((series for (series,) in pane.keys), pane.column("count").tolist(), strict=True)
    )


def partials(start_ms: int, counts: Mapping[str, int]) -> Partials:
    """Rows of `visits` in the pane that starts then."""
    made = source(disorder_ms=10**12)
    read(made, *((start_ms, series) for series, count in counts.items() for _ in range(count)))
    return next(made.open_panes()).pane.partials()


def delivery(
    *parts: Partials,
    stamp: tuple[int, int] = (1, 0),
    watermark_ms: int = 0,
    source: int = 0,
    late: Mapping[str, int] | None = None,
    more: bool = False,
) -> Delivery:
    """A delivery of these rows."""
    return Delivery(source, *stamp, watermark_ms, False, dict(late or {}), list(parts), more)


def counts(panes: Mapping[int, Mapping[int, Pane]]) -> dict[int, dict[str, int]]:
    """Counts of a live metric by pane start and series, over its sources."""
    totals: dict[int, dict[str, int]] = {}
    for start_ms, by_source in panes.items():
        for pane in by_source.values():
            for series, count in rows(pane).items():
                of_pane = totals.setdefault(start_ms, {})
                of_pane[series] = of_pane.get(series, 0) + count
    return totals


def flushed(made: Source) -> list[Partials]:
    """The rows that changed since the last call."""
    return [dirty for _, dirty in made.take_changes()]
