"""Owns what stands on a changelog: segments of pane rows and the marker that makes them count.

Pure bookkeeping, no I/O. A *segment* is a columnar slice of one pane: rows with their cumulative
values. A *marker* says which segments are the state: those of its owner up to a sequence number,
and those it inherited from earlier owners up to theirs. Nothing that a marker does not cover
counts, so a flush of any size is atomic: segments first, then the marker, in as many record batches
as it takes, and a crash in between leaves the previous marker in force.

Two workers may believe they own a partition (a paused one wakes up after its partition moved).
Hence four rules:

- Every owner writes under keys of its own, `(epoch, nonce)`, so no write replaces another owner's,
  not even by log compaction.
- A taker picks the marker with the greatest epoch and takes over with a greater one. Two takers
  that read the same changelog have epochs that differ by the generations of the consumer group
  that gave them the partition, so the later one is preferred even if the other wakes up last.
- What a former owner writes after it was taken over lies beyond the inherited sequence number.
- A segment that a later one made redundant is deleted only once the consumer group has accepted an
  offset commit issued after the flush that replaced it. The commit proves that the partition had
  not moved, so every later owner has read the replacement. (Deletes carry no owner; without this
  rule a woken worker could delete rows that its successor still counts on.)
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from analytics.core.aggregates.pane import Partials, split
from analytics.errors import StoreError

#: Encoded size a segment should not pass; several fit into one record batch.
SEGMENT_BYTES_MAX = 256 * 1024
#: A pane is written whole once its segments hold this many times its rows, or are this many.
REWRITE_FACTOR = 2
REWRITE_SEGMENTS = 16

T = TypeVar("T")

_GENERATION_BITS = 32

_SEGMENT_KEY = struct.Struct(">cQ8sQ")
_MARKER_KEY = struct.Struct(">cQ8s")


class Owner(NamedTuple):
    """Who writes: the epoch rises with each takeover, the nonce (8 bytes) tells equals apart.

    The epoch is a round, one more than the greatest on the changelog when it was read, followed by
    the low 32 bits of the group's generation. The round alone would not do, as two takers may have
    read the same; the generation alone would not, as it starts again when a group is deleted.
    """

    epoch: int
    nonce: bytes

    def marker_key(self) -> bytes:
        """Key of this owner's marker."""
        return _MARKER_KEY.pack(b"m", self.epoch, self.nonce)

    def epoch_key(self) -> bytes:
        """Least marker key of this epoch: those of earlier epochs sort below it."""
        return _MARKER_KEY.pack(b"m", self.epoch, b"")

    def segment_key(self, sequence: int) -> bytes:
        """Key of this owner's segment number ``sequence``."""
        return _SEGMENT_KEY.pack(b"s", self.epoch, self.nonce, sequence)


class PaneId(NamedTuple):
    """One metric's pane from one source partition."""

    metric: str
    start_ms: int
    source: int


class Marker(msgspec.Struct, frozen=True, array_like=True):
    """How far a partition's state has come, and which segments it is made of.

    ``applied`` is the highest source offset folded in (-1: none); ``sequence`` the owner's newest
    segment; ``inherited`` lists earlier owners with their last sequence that counts; ``state`` is
    whatever else the agent needs to go on, encoded by it.
    """

    applied: int
    sequence: int
    inherited: list[tuple[int, bytes, int]]
    state: bytes


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """Rows of one pane as they stood when this was written."""

    source: int
    partials: Partials

    @property
    def pane(self) -> PaneId:
        """The pane whose rows these are."""
        return PaneId(self.partials.metric, self.partials.start_ms, self.source)


class Rows(Protocol):
    """A pane, or what else is kept as rows under a `PaneId`."""

    @property
    def n(self) -> int:
        """Number of rows, or more."""

    def partials(self) -> Partials:
        """All rows: what its segments together must come to."""


@dataclass(frozen=True, slots=True)
class Change:
    """A pane with the rows that changed since the last flush."""

    id: PaneId
    pane: Rows
    dirty: Partials


class Entry(NamedTuple):
    """One changelog record; a value of None deletes the key."""

    key: bytes
    value: bytes | None


class _Written(NamedTuple):
    owner: Owner
    sequence: int
    rows: int

    @property
    def key(self) -> bytes:
        return self.owner.segment_key(self.sequence)


@dataclass(frozen=True, slots=True)
class Recovered:
    """State read back: the marker in force and its segments in the order they were written."""

    owner: Owner | None
    marker: Marker | None
    segments: tuple[Segment, ...]
    log: "SegmentLog"


@dataclass(slots=True)
class SegmentLog:
    """The segments that make up one table partition, and what the next flush has to write.

    Not safe for concurrent use: one flush of a partition at a time.
    """

    owner: Owner
    sequence: int = 0
    applied: int = -1
    _written: dict[PaneId, list[_Written]] = field(default_factory=dict)
    #: Of earlier owners, the last sequence that counts.
    _inherited: dict[Owner, int] = field(default_factory=dict)
    #: Redundant keys, each with the offset whose commit allows its delete; oldest first.
    _redundant: list[tuple[int, bytes]] = field(default_factory=list)
    _confirmed: int = -1
    #: Segments that the next flush has to write once more.
    _again: list[Segment] = field(default_factory=list)

    def flush(
        self, changes: Sequence[Change], closed: Iterable[PaneId], applied: int, state: bytes
    ) -> list[Entry]:
        """Entries to append, in this order; they are the state once the last of them is written.

        ``closed`` panes are forgotten.
        """
        entries: list[Entry] = []
        # A commit of an unchanged offset may be older than this flush and proves nothing: wait
        # for one that goes beyond it.
        gate = applied if applied > self.applied else applied + 1
        entries.extend(self._rewritten(gate))
        for change in changes:
            entries.extend(self._write(change, gate))
        for pane in closed:
            self._retire(self._written.pop(pane, []), gate)
        self.applied = applied
        entries.append(self._marker(applied, state))
        entries.extend(self._deletes())
        return entries

    def confirm(self, committed: int) -> None:
        """The group accepted a commit of ``committed`` (the next offset to read) for our source."""
        self._confirmed = max(self._confirmed, committed - 1)

    def rewrite(self, segments: Iterable[Segment]) -> None:
        """Write everything that was recovered again with the next flush: only the store has it."""
        self._again = list(segments)

    def _rewritten(self, gate: int) -> Iterator[Entry]:
        for pane in {segment.pane: None for segment in self._again}:
            self._retire(self._written.pop(pane), gate)
        for segment in self._again:
            yield self._segment(segment)
        self._again = []

    def _segment(self, segment: Segment) -> Entry:
        self.sequence += 1
        written = _Written(self.owner, self.sequence, len(segment.partials.keys))
        self._written.setdefault(segment.pane, []).append(written)
        return Entry(written.key, msgspec.msgpack.encode(segment))

    def _write(self, change: Change, gate: int) -> Iterator[Entry]:
        written = self._written.setdefault(change.id, [])
        partials = change.dirty
        rows = sum(one.rows for one in written) + len(partials.keys)
        crowded = rows > REWRITE_FACTOR * change.pane.n or len(written) >= REWRITE_SEGMENTS
        if written and crowded:
            self._retire(written, gate)
            written.clear()
            partials = change.pane.partials()
        for piece in split(partials, SEGMENT_BYTES_MAX):
            yield self._segment(Segment(change.id.source, piece))

    def _retire(self, written: list[_Written], gate: int) -> None:
        self._redundant.extend((gate, one.key) for one in written)

    def _deletes(self) -> list[Entry]:
        # Oldest first: should only some of them be written, the rows that stay are the newest.
        ready = [key for gate, key in self._redundant if gate <= self._confirmed]
        if ready:
            self._redundant = [one for one in self._redundant if one[0] > self._confirmed]
        return [Entry(key, None) for key in ready]

    def _marker(self, applied: int, state: bytes) -> Entry:
        # All that counted when it was read counts until nothing of its owner is in force. Going by
        # the newest segment in force would leave out newer ones of a pane that was closed, but not
        # its older ones, for as long as their deletes wait: the pane would come back without them.
        owners = {one.owner for written in self._written.values() for one in written}
        inherited = [(*one, self._inherited[one]) for one in sorted(owners - {self.owner})]
        marker = Marker(
            applied=applied,
            sequence=self.sequence,
            inherited=inherited,
            state=state,
        )
        return Entry(self.owner.marker_key(), msgspec.msgpack.encode(marker))

    def _garbage(self, keys: Iterable[bytes]) -> None:
        # Dead when we read it. But a flush that was being written then may since have been finished
        # and been read by a successor of ours, so these, too, wait for a commit after our claim.
        gate = max(self.applied, 0)
        self._redundant.extend((gate, key) for key in keys)


def recover(entries: Iterable[tuple[bytes, bytes]], nonce: bytes, generation: int) -> Recovered:
    """Find the state in a changelog's (or store's) entries and the log of a new owner of it.

    ``generation`` is the consumer group's, in which the new owner was given the partition. The
    caller goes on with ``log`` and writes a flush at once, which makes it the owner. Raises
    StoreError when an entry in force cannot be read: the store must then be rebuilt.
    """
    markers: dict[Owner, Marker] = {}
    segments: dict[Owner, list[tuple[int, bytes]]] = {}
    for key, value in entries:
        if key[:1] == b"m":
            _, epoch, owner_nonce = _MARKER_KEY.unpack(key)
            markers[Owner(epoch, owner_nonce)] = _decode(value, Marker)
        elif key[:1] == b"s":
            _, epoch, owner_nonce, sequence = _SEGMENT_KEY.unpack(key)
            segments.setdefault(Owner(epoch, owner_nonce), []).append((sequence, value))
    log = SegmentLog(Owner(_next_epoch((*markers, *segments), generation), nonce))
    if not markers:
        log._garbage(owner.segment_key(n) for owner, of in segments.items() for n, _ in of)
        return Recovered(None, None, (), log)
    best = max(markers)
    marker = markers[best]
    log.applied = marker.applied
    live = _live(best, marker, segments, log)
    log._garbage(owner.marker_key() for owner in markers)
    return Recovered(best, marker, tuple(live), log)


def newest_epoch(keys: Iterable[bytes]) -> int:
    """The epoch of the newest marker among keys of entries, 0 while there is none."""
    markers = (_MARKER_KEY.unpack(key) for key in keys if key[:1] == b"m")
    return max((epoch for _, epoch, _ in markers), default=0)


def _next_epoch(owners: Iterable[Owner], generation: int) -> int:
    newest_round = max((owner.epoch >> _GENERATION_BITS for owner in owners), default=0)
    return (newest_round + 1) << _GENERATION_BITS | generation % (1 << _GENERATION_BITS)


def _live(
    best: Owner,
    marker: Marker,
    segments: dict[Owner, list[tuple[int, bytes]]],
    log: SegmentLog,
) -> list[Segment]:
    """Segments that ``marker`` covers, oldest first; the rest becomes garbage of ``log``."""
    last = {Owner(epoch, nonce): n for epoch, nonce, n in marker.inherited}
    last[best] = marker.sequence
    log._inherited = last
    live: list[Segment] = []
    for owner in sorted(segments):
        for sequence, value in sorted(segments[owner]):
            if sequence > last.get(owner, 0):
                log._garbage([owner.segment_key(sequence)])
                continue
            segment = _decode(value, Segment)
            live.append(segment)
            rows = len(segment.partials.keys)
            log._written.setdefault(segment.pane, []).append(_Written(owner, sequence, rows))
    return live


def _decode(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(value, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StoreError(
            f"a {kind.__name__.lower()} on the changelog is unreadable: {error}"
        ) from error
