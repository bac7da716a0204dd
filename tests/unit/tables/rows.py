"""Owns panes of counts and the reading of them back, for tests of tables; asserts nothing."""

from collections.abc import Iterable, Mapping

import numpy as np

from analytics.core.aggregates.pane import Batch, Pane, PaneSpec
from tables.segments import Change, Entry, PaneId, Recovered, SegmentLog, recover

SPEC = PaneSpec(("count",), False, False, False, dimensions=1, max_series=10_000)

Counts = dict[int, dict[str, int]]
"""By pane start, then by series."""


def pane_id(start_ms: int = 0) -> PaneId:
    """The pane that starts then, of the metric and the source of these tests."""
    return PaneId("metric@1", start_ms, 0)


def counted(pane: Pane, keys: Iterable[str]) -> Change:
    """Count one event a key, and take the change."""
    listed = [(key,) for key in keys]
    ids = pane.series.ids(listed, len(listed))
    pane.fold(Batch(ids, timestamps=np.zeros(len(listed), np.int64)))
    dirty = pane.take_dirty()
    assert dirty is not None
    return Change(pane_id(pane.start_ms), pane, dirty)


def pane(start_ms: int = 0) -> Pane:
    """An empty pane."""
    return Pane(SPEC, start_ms, "metric@1")


def applied_to(entries: Iterable[Entry], store: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """What a store holds after these entries."""
    held = dict(store)
    for key, value in entries:
        if value is None:
            held.pop(key, None)
        else:
            held[key] = value
    return held


class Changelog:
    """A changelog that everything reaches at once."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    def write(self, entries: Iterable[Entry]) -> None:
        """Append entries."""
        self.held = applied_to(entries, self.held)

    def read(self, generation: int = 9) -> Recovered:
        """What a worker of that generation finds."""
        nonce = generation.to_bytes(8, "big")
        return recover(sorted(self.held.items()), nonce, generation)

    def owner(self, generation: int = 1) -> SegmentLog:
        """The log of a worker that has read it, and claimed it."""
        recovered = self.read(generation)
        applied = -1 if recovered.marker is None else recovered.marker.applied
        self.write(recovered.log.flush([], [], applied, b""))
        return recovered.log

    def keys(self, kind: bytes) -> list[bytes]:
        """Keys of segments (`s`) or markers (`m`)."""
        return [key for key in sorted(self.held) if key.startswith(kind)]


def counts(recovered: Recovered) -> Counts:
    """The rows of the segments, later ones in the place of earlier ones."""
    panes: dict[int, Pane] = {}
    for segment in recovered.segments:
        start_ms = segment.pane.start_ms
        panes.setdefault(start_ms, pane(start_ms)).replace(segment.partials)
    return {
        start_ms: dict(zip((key for (key,) in one.keys), one.column("count").tolist(), strict=True))
        for start_ms, one in panes.items()
    }
