"""Owns the metrics of tests with faults, and what each makes of an event; it folds nothing.

Each is owned by another partition of `partials`, so that three workers have one each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tests.services.oracle.events import BLOCKS, SOURCES, TYPES, Flags, Integers, Lines
from tests.services.oracle.fate import DISORDER_MS, Fate
from tests.services.oracle.mishaps import EVENT_BYTES_MAX

PANE_MS = 10_000
GRACE_MS = 10_000

FAULT_METRICS = """\
metrics:
  amounts:
    value: data.value
    dimensions: [source, type]
    aggregations: [count, sum, min, max]
    distinct: data.user
    window: {size: 10s, grace: 10s}
    retention: 30d
  windows:
    where: type == "order"
    value: data.value
    dimensions: [source]
    aggregations: [count, sum, min, max, p50]
    window: {size: 20s, advance: 10s, grace: 10s}
    retention: 30d
  ids:
    value: data.digit
    dimensions: [{block: data.block}]
    aggregations: [count, sum, min, max]
    window: {size: 10s, grace: 10s}
    retention: 30d
"""

#: No partition is taken for idle: while a broker is away all are silent, and of those that come
#: back some would not be waited for.
FAULT_SETTINGS: dict[str, object] = {
    "disorder": f"{DISORDER_MS}ms",
    "idle": "30m",
    "event_bytes_max": EVENT_BYTES_MAX,
    "session_timeout": "3s",
}

ORDER = TYPES.index("order")


@dataclass(frozen=True, slots=True)
class View:
    """A metric as a question sees it: its series are the values of ``group_by``.

    ``sketch`` is the one aggregate that is only known about.
    """

    metric: Literal["amounts", "windows", "ids"]
    group_by: tuple[str, ...]
    size_ms: int = PANE_MS
    sketch: Literal["distinct", "p50"] | None = None

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The key of each series, by its number."""
        if self.metric == "amounts":
            return [(source, type_) for source in SOURCES for type_ in TYPES]
        if self.metric == "windows":
            return [(source,) for source in SOURCES]
        return [(f"b{block}",) for block in range(BLOCKS)] if self.group_by else [()]

    @property
    def functions(self) -> tuple[str, ...]:
        """The aggregates to ask for, in the order of an answer's columns."""
        return ("count", "sum", "min", "max", *((self.sketch,) if self.sketch else ()))

    def series(self, lines: Lines) -> Integers:
        """The number of the series that each event belongs to."""
        if self.metric == "amounts":
            return lines.source * len(TYPES) + lines.type
        if self.metric == "windows":
            return lines.source
        return lines.block if self.group_by else np.zeros(len(lines), np.int64)

    def value(self, lines: Lines) -> Integers:
        """The number that is aggregated."""
        return lines.digit if self.metric == "ids" else lines.value

    @property
    def value_type(self) -> type[np.signedinteger[Any]]:
        """What holds such a number."""
        return np.int64 if self.metric == "ids" else np.int16

    def split(self, lines: Lines, fate: Fate) -> tuple[Flags, Flags]:
        """(taken, late): which lines the metric aggregates, and which only came too late."""
        wanted = fate.events
        if self.metric == "windows":
            wanted = wanted & (lines.type == ORDER)
        pane_ms = lines.time_ms - lines.time_ms % PANE_MS
        late = pane_ms + (self.size_ms + GRACE_MS) <= fate.watermark
        return wanted & ~late, wanted & late


AMOUNTS = View("amounts", ("source", "type"), sketch="distinct")
WINDOWS = View("windows", ("source",), 2 * PANE_MS, sketch="p50")
IDS = View("ids", ("block",))
#: `ids` without its thousands of series, for a reader that asks often.
IDS_IN_ALL = View("ids", ())

#: What readers ask for during the faults, and what is asked for in the end.
LIVE_VIEWS: Sequence[View] = (AMOUNTS, WINDOWS, IDS_IN_ALL)
VIEWS: Sequence[View] = (AMOUNTS, WINDOWS, IDS)
