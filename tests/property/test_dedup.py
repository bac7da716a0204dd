"""Duplicates by producers against a plain loop, while the owner of their partition dies anywhere.

The real source and the real segments; the changelog is a dict that anything may be cut off from.

    log           1 2 3 2 4 5 1 …                         producers repeat themselves
    owner         fold ─ flush ─ fold ─ flu✂              a marker, or none
    next owner                            read ─ claim ─ fold …     perhaps with another limit
    former owner                                   ─ woken: flushes once more

At any moment a source has dropped what the loop drops, and remembers what the loop remembers; and
so does whoever reads the changelog then, as of the last flush.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from unittest.mock import patch

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from analytics.core import dedup
from analytics.core.aggregates.pane import Partials
from analytics.core.dedup import CHUNK_IDS, IDS, RememberedIds
from analytics.core.source import Source, SourceState, closes_at
from tables import segments
from tables.segments import Change, Entry, PaneId, Segment, SegmentLog, recover
from tests.unit.phases import DISORDER_MS, VISITS, S, fold, source

CHUNK = 4
"""In place of CHUNK_IDS, so that chunks come and go within a few events."""


class Event(NamedTuple):
    """One line; without a time it is refused."""

    id: str
    at_s: int | None
    series: str

    def line(self) -> bytes:
        at_ms = None if self.at_s is None else self.at_s * S
        return orjson.dumps(
            {"id": self.id, "timestamp": at_ms, "type": "visit", "source": self.series}
        )


Record = list[Event]


@dataclass
class Naive:
    """What a plain loop makes of the log up to ``applied``."""

    applied: int = -1
    remembered: list[str] = field(default_factory=list)
    duplicates: int = 0
    counts: dict[tuple[int, str], int] = field(default_factory=dict)
    late: int = 0
    highest_ms: int | None = None

    def copy(self) -> "Naive":
        return replace(self, remembered=list(self.remembered), counts=dict(self.counts))

    def read(self, record: Record, limit: int) -> None:
        self.applied += 1
        for event in record:
            if event.at_s is None:
                continue
            if event.id in self.remembered:
                self.duplicates += 1
                continue
            if limit:
                self.remembered.append(event.id)
                self.forget(limit)
            self.count(event.at_s * S, event.series)

    def count(self, at_ms: int, series: str) -> None:
        start_ms = at_ms - at_ms % VISITS.window.pane_ms
        highest_ms = self.highest_ms
        if highest_ms is not None and closes_at(VISITS, start_ms) <= highest_ms - DISORDER_MS:
            self.late += 1
        else:
            self.counts[start_ms, series] = self.counts.get((start_ms, series), 0) + 1
        self.highest_ms = at_ms if highest_ms is None else max(highest_ms, at_ms)

    def forget(self, limit: int) -> None:
        """Whole chunks from the old end, as long as full ones hold the limit without them."""
        full = len(self.remembered) // CHUNK * CHUNK
        while full - CHUNK >= limit and full:
            del self.remembered[:CHUNK]
            full -= CHUNK
        if not limit:
            self.remembered.clear()


class Owner:
    """A worker that has read a changelog, and what a plain loop knows of its source."""

    def __init__(
        self, held: Iterable[tuple[bytes, bytes]], generation: int, limit: int, then: Naive
    ) -> None:
        recovered = recover(held, bytes(8), generation)
        self.limit = limit
        self.log: SegmentLog = recovered.log
        self.source: Source = source(dedup_ids=limit)
        if recovered.marker is not None:
            state = msgspec.msgpack.decode(recovered.marker.state, type=SourceState)
            rows = [segment.partials for segment in recovered.segments]
            self.source.restore(recovered.marker.applied, state, rows)
        self.naive = then.copy()
        self.naive.forget(limit)

    def fold(self, log: Sequence[Record], n: int) -> None:
        records = log[self.source.applied + 1 :][:n]
        if not records:
            return
        before = self.naive.duplicates
        for record in records:
            self.naive.read(record, self.limit)
        values = [b"\n".join(event.line() for event in record) for record in records]
        _, folded = fold(self.source, values, self.source.applied + len(records))
        assert folded.duplicates == self.naive.duplicates - before

    def claim(self) -> list[Entry]:
        return self.log.flush([], [], self.source.applied, self._state())

    def flush(self) -> list[Entry]:
        changes = [
            Change(PaneId(one.metric, one.start_ms, 0), one.pane, dirty)
            for one, dirty in self.source.take_changes()
        ]
        for chunk, dirty in self.source.ids.take_changes():
            changes.append(Change(PaneId(IDS, chunk.number, 0), chunk, dirty))
        gone = [PaneId(IDS, number, 0) for number in self.source.ids.take_forgotten()]
        return self.log.flush(changes, gone, self.source.applied, self._state())

    def _state(self) -> bytes:
        return msgspec.msgpack.encode(self.source.state())

    def agrees(self) -> None:
        """The source is what the plain loop says."""
        made, naive = self.source, self.naive
        counts = {
            (start_ms, series): count
            for _, start_ms, pane in made.open_panes()
            for (series,), count in zip(pane.keys, pane.column("count").tolist(), strict=True)
        }
        assert (made.applied, made.duplicates) == (naive.applied, naive.duplicates)
        assert (counts, made.late.get(VISITS.key, 0)) == (naive.counts, naive.late)
        assert remembered(made.ids) == sorted(naive.remembered)


def remembered(ids: RememberedIds) -> list[str]:
    """All of them: what stands in the chunks, which must be what events are compared with."""
    texts = sorted(text for chunk in ids._chunks for text in chunk.ids)
    assert sorted(ids._ids) == texts
    return texts


EVENTS = st.builds(
    Event,
    st.sampled_from([*"abcdefghijkl", "ä€\U0001f600", "x" * 128]),
    st.sampled_from([0, 1, 7, 12, 30, None]),
    st.sampled_from("pq"),
)
RECORDS = st.lists(st.lists(EVENTS, max_size=4), min_size=1, max_size=4)
LIMITS = st.sampled_from([0, 1, 4, 5, 9, 50])


class Partition(RuleBasedStateMachine):
    """A source partition, its changelog and its owners."""

    @initialize(limit=LIMITS)
    def begin(self, limit: int) -> None:
        self.log: list[Record] = []
        self.held: dict[bytes, bytes] = {}
        self.generation = 0
        self.durable = Naive()
        self.former: Owner | None = None
        self.owner = self.taken_over(limit, claimed=True)

    def taken_over(self, limit: int, *, claimed: bool) -> Owner:
        self.generation += 1
        owner = Owner(sorted(self.held.items()), self.generation, limit, self.durable)
        if claimed:
            self.write(owner.claim())
            self.durable = owner.naive.copy()
        return owner

    def write(self, entries: Sequence[Entry]) -> bool:
        """Append entries; whether there was a marker among them."""
        for key, value in entries:
            if value is None:
                self.held.pop(key, None)
            else:
                self.held[key] = value
        return any(key[:1] == b"m" and value is not None for key, value in entries)

    # --- steps ----------------------------------------------------------------------------------

    @rule(records=RECORDS)
    def produce(self, records: list[Record]) -> None:
        self.log += records

    @rule(back=st.integers(1, 8))
    def produce_again(self, back: int) -> None:
        self.log += self.log[-back:]

    @rule(n=st.integers(1, 6))
    def fold(self, n: int) -> None:
        self.owner.fold(self.log, n)

    @rule()
    def flush(self) -> None:
        self.write(self.owner.flush())
        self.durable = self.owner.naive.copy()

    @rule()
    def the_group_accepts_a_commit(self) -> None:
        self.owner.log.confirm(self.durable.applied + 1)

    @rule(written=st.integers(0, 30), limit=LIMITS, claimed=st.booleans())
    def die_in_a_flush(self, written: int, limit: int, claimed: bool) -> None:
        if self.write(self.owner.flush()[:written]):
            self.durable = self.owner.naive.copy()
        self.former = None
        self.owner = self.taken_over(limit, claimed=False)
        if claimed:
            self.owner = self.taken_over(limit, claimed=True)

    @rule(limit=LIMITS, claimed=st.booleans())
    def lose_the_partition(self, limit: int, claimed: bool) -> None:
        self.former = self.owner
        self.owner = self.taken_over(limit, claimed=claimed)
        if not claimed:  # died before it could; the one after it reads the same
            self.owner = self.taken_over(limit, claimed=True)

    @precondition(lambda self: self.former is not None)
    @rule(n=st.integers(0, 6))
    def the_former_owner_wakes_up(self, n: int) -> None:
        assert self.former is not None
        self.former.fold(self.log, n)
        self.write(self.former.flush())

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def the_source_is_what_a_plain_loop_says(self) -> None:
        self.owner.agrees()

    @invariant()
    def a_reader_finds_the_last_flush(self) -> None:
        limit = self.owner.limit
        Owner(self.held.items(), self.generation + 1, limit, self.durable).agrees()

    @invariant()
    def no_more_is_remembered_than_the_limit_allows(self) -> None:
        limit = self.owner.limit
        assert self.owner.source.ids.n < (limit + 2 * CHUNK if limit else 1)

    def teardown(self) -> None:
        """Left alone, an owner leaves of ids on the changelog only those that are remembered."""
        if not hasattr(self, "held"):
            return
        # What a former owner left is found by whoever reads the changelog after it.
        self.owner = self.taken_over(self.owner.limit, claimed=True)
        for _ in range(3):
            self.log.append([Event("z", 30, "p")])
            self.fold(len(self.log))
            self.flush()
            self.the_group_accepts_a_commit()
        self.flush()
        self.owner.agrees()
        numbers = {partials.start_ms for partials in self.kept() if partials.metric == IDS}
        assert numbers == {chunk.number for chunk in self.owner.source.ids._chunks if chunk.n}

    def kept(self) -> Iterator[Partials]:
        for key, value in self.held.items():
            if key[:1] == b"s":
                yield msgspec.msgpack.decode(value, type=Segment).partials


@contextmanager
def small_chunks() -> Iterator[None]:
    """Chunks of a few ids, rows of two, and segments that are soon cut and written again."""
    with (
        patch.object(dedup, "CHUNK_IDS", CHUNK),
        patch.object(dedup, "ROW_IDS", 2),
        patch.object(segments, "SEGMENT_BYTES_MAX", 40),
        patch.object(segments, "REWRITE_SEGMENTS", 2),
    ):
        yield


def test_every_owner_drops_and_remembers_what_a_plain_loop_does() -> None:
    with small_chunks():
        run_state_machine_as_test(
            Partition, settings=settings(max_examples=200, stateful_step_count=30, deadline=None)
        )


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    limit=st.sampled_from([1, CHUNK_IDS, 2_500]),
    cuts=st.lists(st.integers(0, 8_000), max_size=20),
)
def test_what_is_a_duplicate_does_not_depend_on_how_the_log_is_cut(
    seed: int, limit: int, cuts: list[int]
) -> None:
    draw = random.Random(seed)
    ids = [f"id-{draw.randrange(n)}" for n in range(1, 8_001)]
    at_once, in_pieces = RememberedIds(limit), RememberedIds(limit)
    repeated = at_once.take_in(ids)
    ends = [0, *sorted(cuts), len(ids)]
    pieces: list[int] = []
    for begin, end in zip(ends, ends[1:], strict=False):
        pieces += [begin + place for place in in_pieces.take_in(ids[begin:end])]
    assert pieces == repeated
    assert remembered(in_pieces) == remembered(at_once)


@pytest.mark.parametrize("limit", [1, 1_000, 5_000])
def test_an_id_within_the_limit_is_always_recognised(limit: int) -> None:
    ids = [str(n) for n in range(4 * limit + 3 * CHUNK_IDS)]
    made = RememberedIds(limit)
    assert made.take_in(ids) == []
    newest = ids[-limit:]
    assert made.take_in(newest) == list(range(limit))
    assert limit <= made.n < limit + 2 * CHUNK_IDS
