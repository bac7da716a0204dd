"""The changelog of a table partition under every order of crashes, takeovers and woken owners.

The model has one consumer group, one changelog and any number of workers that believe they own the
partition; only the one of the newest generation can commit. A worker reads the changelog, claims it
with a first flush, folds events and flushes; each of its record batches is written by a step of its
own, so that whatever other workers do falls between any two of them.

                    generation 1          2                        3
    worker 1     read claim flush ─ ─ ─ ─ woken: writes what it had begun, and flushes again
    worker 2                        read ─ ─ ─ ─ ─ claims late, with an epoch of generation 2
    worker 3                                                     read claim flush commit

Whatever happened, a reader of the changelog must find the last flush that the newest worker with a
claim has finished: all of its rows and nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from unittest.mock import patch

import msgspec
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from analytics.core.aggregates.pane import Batch, Pane, PaneSpec
from tables import segments
from tables.segments import Change, Entry, PaneId, SegmentLog, recover

SPEC = PaneSpec(("count",), False, False, False, dimensions=1, max_series=100)
STARTS = st.integers(0, 3)
KEYS = st.sampled_from("abc")

Rows = dict[int, dict[str, int]]
"""Counts by pane, then by series."""


@dataclass(frozen=True)
class State:
    """What a finished flush promises: the open panes as of an offset, and the panes closed."""

    applied: int
    closed: frozenset[int]
    rows: Rows


def pane_id(start_ms: int) -> PaneId:
    return PaneId("metric@1", start_ms, 0)


@dataclass
class Worker:
    """One worker's view; ``state`` is kept by a plain loop, ``panes`` by the code under test."""

    generation: int
    log: SegmentLog
    applied: int = -1
    closed: set[int] = field(default_factory=set)
    rows: Rows = field(default_factory=dict)
    panes: dict[int, Pane] = field(default_factory=dict)
    #: Closed panes whose segments were still there when this worker read the changelog.
    remains: set[int] = field(default_factory=set)
    #: Batches of the flush under way, and the state it makes durable.
    batches: list[Sequence[Entry]] = field(default_factory=list)
    promised: State | None = None
    durable: State | None = None
    #: A commit on its way to the group, and one that the group has accepted.
    issued: int | None = None
    accepted: int | None = None

    def fold(self, events: Sequence[tuple[int, str]]) -> None:
        for start_ms, key in events:
            self.applied += 1
            if start_ms in self.closed:
                continue
            pane = self.panes.setdefault(start_ms, Pane(SPEC, start_ms, "metric@1"))
            ids = pane.series.ids([(key,)], 1)
            pane.fold(Batch(ids, timestamps=np.array([start_ms], np.int64)))
            series = self.rows.setdefault(start_ms, {})
            series[key] = series.get(key, 0) + 1

    def begin_flush(self, closing: Iterable[int]) -> list[Entry]:
        changes = [
            Change(pane_id(start_ms), pane, dirty)
            for start_ms, pane in self.panes.items()
            if (dirty := pane.take_dirty()) is not None
        ]
        gone = {start_ms for start_ms in closing if start_ms in self.panes}
        for start_ms in gone:
            del self.panes[start_ms], self.rows[start_ms]
        self.closed |= gone
        closed = [pane_id(start_ms) for start_ms in gone | self.remains]
        self.remains.clear()
        return self._entries(changes, closed)

    def claim(self) -> list[Entry]:
        return self._entries([], [])

    def _entries(self, changes: list[Change], closed: list[PaneId]) -> list[Entry]:
        rows = {start_ms: dict(series) for start_ms, series in self.rows.items()}
        self.promised = State(self.applied, frozenset(self.closed), rows)
        state = msgspec.msgpack.encode(sorted(self.closed))
        return self.log.flush(changes, closed, self.applied, state)


def read(
    entries: Iterable[tuple[bytes, bytes]], generation: int, *, outlived: bool = False
) -> Worker:
    """A worker that has read these entries and claimed nothing yet.

    ``outlived``: they are those of its store, and the changelog does not have them any more.
    """
    recovered = recover(entries, bytes(8), generation)
    if outlived:
        recovered.log.rewrite(recovered.segments)
    worker = Worker(generation, recovered.log)
    if recovered.marker is None:
        assert recovered.segments == ()
        return worker
    worker.applied = recovered.marker.applied
    worker.closed = set(msgspec.msgpack.decode(recovered.marker.state, type=list[int]))
    for segment in recovered.segments:
        start_ms = segment.pane.start_ms
        if start_ms in worker.closed:
            worker.remains.add(start_ms)
            continue
        pane = worker.panes.setdefault(start_ms, Pane(SPEC, start_ms, "metric@1"))
        pane.replace(segment.partials)
    for start_ms, pane in worker.panes.items():
        pane.take_dirty()
        counts = pane.column("count").tolist()
        worker.rows[start_ms] = dict(zip((key for (key,) in pane.keys), counts, strict=True))
    return worker


def cut(entries: list[Entry], places: Iterable[int]) -> list[Sequence[Entry]]:
    """The entries as consecutive record batches."""
    ends = sorted({place % len(entries) for place in places} | {len(entries)})
    return [entries[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


class Changelog:
    """What stands on a partition of a compacted topic."""

    def __init__(self) -> None:
        self._records: list[Entry] = []

    def append(self, batch: Sequence[Entry]) -> None:
        self._records.extend(batch)

    def compact(self, *, drop_deletes: bool) -> None:
        newest = {entry.key: at for at, entry in enumerate(self._records)}
        self._records = [
            entry
            for at, entry in enumerate(self._records)
            if newest[entry.key] == at and not (drop_deletes and entry.value is None)
        ]

    def live(self) -> dict[bytes, bytes]:
        """What a store holds that has read all of it."""
        newest = {entry.key: entry.value for entry in self._records}
        return {key: value for key, value in newest.items() if value is not None}


PLACES = st.lists(st.integers(0, 20), max_size=3)
WHICH = st.integers(0, 3)


class Fleet(RuleBasedStateMachine):
    """Workers, their changelog, and the events that all of them read."""

    @initialize()
    def begin(self) -> None:
        self.changelog = Changelog()
        self.events: list[tuple[int, str]] = []
        self.generation = 0
        self.workers: list[Worker] = []
        #: By generation, the last flush that its worker finished.
        self.finished: dict[int, State] = {}

    # --- steps ----------------------------------------------------------------------------------

    @rule(events=st.lists(st.tuples(STARTS, KEYS), min_size=1, max_size=5))
    def produce(self, events: list[tuple[int, str]]) -> None:
        self.events += events

    @rule(places=PLACES)
    def take_over(self, places: list[int]) -> None:
        self.generation += 1
        worker = read(self.changelog.live().items(), self.generation)
        worker.batches = cut(worker.claim(), places)
        self.workers = [*self.workers[-3:], worker]

    @precondition(lambda self: self.workers)
    @rule(which=WHICH, n=st.integers(1, 6))
    def fold(self, which: int, n: int) -> None:
        worker = self._worker(which)
        if worker.durable is not None:
            worker.fold(self.events[worker.applied + 1 :][:n])

    @precondition(lambda self: self.workers)
    @rule(which=WHICH, closing=st.sets(STARTS, max_size=2), places=PLACES)
    def flush(self, which: int, closing: set[int], places: list[int]) -> None:
        worker = self._worker(which)
        if worker.durable is not None and not worker.batches:
            worker.batches = cut(worker.begin_flush(closing), places)

    @precondition(lambda self: self.workers)
    @rule(which=WHICH, n=st.integers(1, 4))
    def write(self, which: int, n: int) -> None:
        worker = self._worker(which)
        for _ in range(min(n, len(worker.batches))):
            batch = worker.batches.pop(0)
            self.changelog.append(batch)
            if any(entry.key == worker.log.owner.marker_key() for entry in batch):
                assert worker.promised is not None
                self.finished[worker.generation] = worker.promised
            if not worker.batches:
                worker.durable = worker.promised

    @precondition(lambda self: self.workers)
    @rule(which=WHICH)
    def issue_commit(self, which: int) -> None:
        worker = self._worker(which)
        if worker.durable is not None and worker.durable.applied >= 0:
            worker.issued = worker.durable.applied + 1

    @precondition(lambda self: self.workers)
    @rule(which=WHICH)
    def the_group_answers(self, which: int) -> None:
        worker = self._worker(which)
        if worker.issued is not None and worker.generation == self.generation:
            worker.accepted = worker.issued
        worker.issued = None

    @precondition(lambda self: self.workers)
    @rule(which=WHICH)
    def learn_of_the_commit(self, which: int) -> None:
        worker = self._worker(which)
        if worker.accepted is not None:
            worker.log.confirm(worker.accepted)
            worker.accepted = None

    @precondition(lambda self: self.workers)
    @rule(which=WHICH)
    def die(self, which: int) -> None:
        self.workers.remove(self._worker(which))

    @rule(places=PLACES)
    def lose_the_topic_and_take_over_with_a_store(self, places: list[int]) -> None:
        held = self.changelog.live()
        self.changelog = Changelog()
        self.finished.clear()
        self.generation += 1
        worker = read(held.items(), self.generation, outlived=True)
        worker.batches = cut(worker.claim(), places)
        self.workers = [worker]

    @rule(drop_deletes=st.booleans())
    def compact(self, drop_deletes: bool) -> None:
        self.changelog.compact(drop_deletes=drop_deletes)

    def _worker(self, which: int) -> Worker:
        """The newest worker for 0, older ones for more."""
        return self.workers[-1 - which % len(self.workers)]

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def a_reader_finds_the_last_flush_of_the_newest_worker_and_nothing_else(self) -> None:
        found = read(self.changelog.live().items(), self.generation + 1)
        if not self.finished:
            assert (found.applied, found.rows) == (-1, {})
            return
        expected = self.finished[max(self.finished)]
        assert State(found.applied, frozenset(found.closed), found.rows) == expected
        assert expected.rows == naive(self.events[: expected.applied + 1], expected)

    def teardown(self) -> None:
        """Left alone, the newest worker removes everything that is of no more use to anybody."""
        if not hasattr(self, "changelog"):
            return
        self.take_over([])
        last = self.workers[-1]
        self.workers = [last]
        self.write(0, 1)
        for _ in range(3):
            self.produce([(4, "z")])
            self.fold(0, len(self.events))
            self.flush(0, set(), [])
            self.write(0, 1)
            last.log.confirm(last.applied + 1)
        assert len(self.changelog.live()) <= segments.REWRITE_SEGMENTS * len(last.panes) + 1
        self.a_reader_finds_the_last_flush_of_the_newest_worker_and_nothing_else()


def naive(events: Sequence[tuple[int, str]], state: State) -> Rows:
    """Counts of the events in panes that were never closed; a closed pane is not judged."""
    rows: Rows = {}
    for start_ms, key in events:
        if start_ms not in state.closed:
            series = rows.setdefault(start_ms, {})
            series[key] = series.get(key, 0) + 1
    return rows


def test_a_changelog_always_holds_the_last_flush_of_its_newest_owner() -> None:
    # Small enough that panes are cut into segments, and rewritten, within a few flushes.
    with (
        patch.object(segments, "SEGMENT_BYTES_MAX", 60),
        patch.object(segments, "REWRITE_SEGMENTS", 4),
    ):
        run_state_machine_as_test(
            Fleet, settings=settings(max_examples=200, stateful_step_count=40, deadline=None)
        )
