"""What counts as a partition that stands still: only what was seen to wait, and by whom."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from agents import watching
from agents.watching import Watching
from analytics.errors import TransportError
from analytics.process.progress import Progress, Stalled

EVENTS = TP("events", 0)


class Rig:
    """A worker with one partition, and a clock that only the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.place, self.end = 5, 9
        self.held = {0: None}
        self.answers = True
        recovery = SimpleNamespace(active_offsets={TP("changelog", 0): 3, TP("changelog", 1): None})
        self.app: Any = SimpleNamespace(
            rebalancing=False,
            tables=SimpleNamespace(actives_ready=True, recovery=recovery),
            consumer=SimpleNamespace(highwaters=self._ends),
            consumer_generation_id=1,
        )
        phases: Any = [self]
        self.flushed: dict[TP, int] = {}
        self.hangs = False
        progress = Progress(60.0, lambda: self.seconds)
        self.watching = Watching(self.app, phases, progress, self._broker)

    def places(self) -> dict[TP, int]:
        return {EVENTS: self.place} if self.held else {}

    def unflushed(self) -> dict[TP, int]:
        return self.flushed

    async def _broker(self) -> None:
        if not self.answers:
            raise TransportError("no broker", recoverable=True)

    async def _ends(self, *of: TP) -> dict[TP, int]:
        if self.hangs:
            await asyncio.Event().wait()
        if not self.answers:
            raise KafkaConnectionError
        return dict.fromkeys(of, self.end)

    async def look(self, seconds: float) -> None:
        self.seconds += seconds
        await self.watching.look()


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_partition_that_stands_still_beside_records_ends_the_worker(rig: Rig) -> None:
    await rig.look(0)
    with pytest.raises(Stalled, match=r"events-0 .* \(at 5\)"):
        await rig.look(61)


async def test_one_that_is_read_or_has_nothing_to_read_does_not(rig: Rig) -> None:
    for rig.place in range(5, 10):
        await rig.look(50)
    await rig.look(500)


async def test_a_flush_that_gets_nowhere_beside_a_broker_that_answers_ends_the_worker(
    rig: Rig,
) -> None:
    """Reading goes on, so that nothing else shows it."""
    rig.flushed = {EVENTS: 3}
    rig.place = 9
    await rig.look(0)
    rig.flushed = {EVENTS: 4}
    await rig.look(59)
    with pytest.raises(Stalled, match=r"flushing events-0 .* \(at 4\)"):
        await rig.look(61)


async def test_a_consumer_that_does_not_answer_while_the_broker_does_ends_the_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "ANSWER_SECONDS_MAX", 0.01)
    rig.hangs = True
    await rig.look(0)
    rig.answers = False
    await rig.look(100)  # then it is the broker
    rig.answers = True
    await rig.look(0)
    with pytest.raises(Stalled, match="the consumer"):
        await rig.look(61)


async def test_a_question_that_is_dropped_by_the_consumer_does_not_end_the_watch(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drop(*_: TP) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(rig.app.consumer, "highwaters", drop)
    await rig.look(0)
    with pytest.raises(Stalled, match="the consumer"):
        await rig.look(61)


async def test_a_broker_that_was_away_is_not_the_partitions_fault(rig: Rig) -> None:
    await rig.look(0)
    rig.answers = False
    for _ in range(100):
        await rig.look(5)
    rig.answers = True
    await rig.look(5)
    await rig.look(59)


async def test_a_partition_that_was_somebody_elses_meanwhile_begins_anew(rig: Rig) -> None:
    await rig.look(0)
    rig.held = {}
    await rig.look(5)
    rig.held = {0: None}
    await rig.look(300)


@pytest.mark.parametrize("why", ["rebalancing", "recovering"])
async def test_an_assignment_that_gets_nowhere_ends_the_worker(rig: Rig, why: str) -> None:
    rig.app.rebalancing = why == "rebalancing"
    rig.app.tables.actives_ready = why == "rebalancing"
    await rig.look(0)
    rig.app.tables.recovery.active_offsets[TP("changelog", 1)] = 4
    await rig.look(59)
    with pytest.raises(Stalled, match="the assignment of partitions"):
        await rig.look(61)
