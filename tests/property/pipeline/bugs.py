"""Owns small bugs of the product, each of which one rule of the machine is there to find."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from agents import aggregate
from agents.aggregate import Aggregate
from agents.partitions import Held, Partitions
from analytics.core import merge as merging
from analytics.core import watermark
from analytics.core.dedup import RememberedIds
from analytics.core.events.codec import EventCodec
from analytics.core.merge import Merge
from analytics.core.source import Source
from analytics.core.watermark import NO_WATERMARK
from analytics.transport.records import RecordBatch
from tables import partition, segments
from tables.partition import TablePartition
from tables.segments import SegmentLog

FAR_MS = 1 << 60
#: What takes more than the first of them is found only where there is time.
RUNS, RUNS_OF_SUBTLE = 400, 1_500


class Bug(NamedTuple):
    """What goes wrong, the rule without which nobody would see it, and the change that does it."""

    name: str
    rule: str
    target: object
    attribute: str
    #: Makes of what is there what takes its place.
    spoil: Callable[[Any], Any]
    #: The machine finds it within so many runs.
    runs: int = RUNS

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """The product with this bug."""
        spoilt = self.spoil(getattr(self.target, self.attribute))
        with patch.object(self.target, self.attribute, spoilt):
            yield


def _always(value: object) -> Callable[[Any], Any]:
    return lambda _: lambda *_, **__: value


def _swallowed(_: Any) -> Any:
    """Setting it changes nothing, and it is never set."""
    return property(lambda _: False, lambda _, __: None)


def _first_chunk(original: Any) -> Any:
    return lambda records: list(original(records))[:1]


def _accepts_the_future(original: Any) -> Any:
    return lambda self, values, now_ms: original(self, values, FAR_MS)


def _never_late(original: Any) -> Any:
    def running(*arguments: Any) -> Any:
        before, highest_ms = original(*arguments)
        return before * 0 + NO_WATERMARK, highest_ms

    return running


def _floor_forgotten(original: Any) -> Any:
    def restore(self: Source, applied: int, state: Any, rows: Sequence[Any]) -> None:
        original(self, applied, msgspec.structs.replace(state, closed={}), rows)

    return restore


def _restored_by_agents(spoil: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Only of the sources that agents restore: witnesses restore some to look into states."""
    return lambda source: type("Spoilt", (source,), {"restore": spoil(source.restore)})


def _claims_in_silence(_: Any) -> Any:
    async def claim(self: Any, held: Held[Any]) -> None:
        source = held.work.source
        await held.state.flush([], [], source.applied, msgspec.msgpack.encode(source.state()))
        held.flushed = source.applied

    return claim


def _marker_first(original: Any) -> Any:
    return lambda self, *arguments: original(self, *arguments)[::-1]


def _one_too_far(original: Any) -> Any:
    def position(self: Any, partition: int) -> int | None:
        known: int | None = original(self, partition)
        return None if known is None else known + 1

    return position


def _all_confirmed(original: Any) -> Any:
    return lambda self, committed: original(self, FAR_MS)


def _closed_come_back(original: Any) -> Any:
    def restore(self: Source, applied: int, state: Any, rows: Sequence[Any]) -> None:
        original(self, applied, msgspec.structs.replace(state, closed={}), rows)
        self._closed = dict(state.closed)

    return restore


def _kept_for_ever(_: Any) -> Any:
    return lambda self, partition, _: partition in self.held


def _equals(original: Any) -> Any:
    return lambda entries, nonce, generation: original(entries, nonce, 0)


def _stale_is_taken(original: Any) -> Any:
    def take(self: Merge, delivery: Any) -> bool:
        known = self._reports.pop(delivery.source, None)
        taken: bool = original(self, delivery)
        if known is not None and not taken:
            self._reports[delivery.source] = known
        return taken

    return take


def _no_more_to_come(original: Any) -> Any:
    return lambda delivery, known: original(msgspec.structs.replace(delivery, more=False), known)


def _same_round(original: Any) -> Any:
    return lambda owners, generation: original((), generation)


def _store_ahead(original: Any) -> Any:
    def store(self: Any, entries: Any, offset: int) -> bool:
        self._table.store.write(self._partition, entries, offset)
        return True

    return store


BUGS = (
    Bug("late events are folded", "produce", watermark, "running", _never_late),
    Bug("events from the future are folded", "produce", EventCodec, "decode", _accepts_the_future),
    Bug("remembered ids are not restored", "produce", RememberedIds, "restore", _always(None)),
    Bug(
        "a closed pane opens again",
        "a_clock_jumps",
        aggregate,
        "Source",
        _restored_by_agents(_floor_forgotten),
    ),
    Bug("a batch is folded in part", "deliver", aggregate, "_chunks", _first_chunk),
    Bug("a watermark comes before its rows", "deliver", merging, "_report_of", _no_more_to_come),
    Bug(
        "what was applied is folded again",
        "redeliver",
        RecordBatch,
        "after",
        lambda _: lambda self, offset: self.records,
    ),
    Bug("a marker comes before its segments", "flush", SegmentLog, "flush", _marker_first),
    Bug(
        "flushes go on after a failure",
        "a_write_fails",
        Held,
        "broken",
        _swallowed,
        RUNS_OF_SUBTLE,
    ),
    Bug("nobody publishes open panes", "crash", Aggregate, "claim", _claims_in_silence),
    Bug("epochs do not rise", "crash_and_come_back", segments, "_next_epoch", _same_round),
    Bug("older owners are believed", "fall_asleep", Merge, "take", _stale_is_taken),
    Bug(
        "former owners keep it",
        "wake_up_and_rejoin",
        Partitions,
        "_keep",
        _kept_for_ever,
        RUNS_OF_SUBTLE,
    ),
    Bug("a successor leaves a record out", "rebalance", Partitions, "position", _one_too_far),
    Bug(
        "takers of two generations are equals",
        "go_on",
        partition,
        "recover",
        _equals,
        RUNS_OF_SUBTLE,
    ),
    Bug("a store claims too much", "lose_a_store", TablePartition, "_store", _store_ahead),
    Bug("deletes come too early", "commit", SegmentLog, "confirm", _all_confirmed, RUNS_OF_SUBTLE),
    Bug(
        "closed panes come back",
        "compact",
        aggregate,
        "Source",
        _restored_by_agents(_closed_come_back),
    ),
)
