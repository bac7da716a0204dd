"""Watches that every partition this worker holds moves on while there is something to do."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from agents.partitions import Partitions
from analytics.errors import TransportError
from analytics.process.progress import Progress

ASSIGNMENT = "the assignment of partitions"
CONSUMER = "the consumer"
#: What takes longer is no answer.
ANSWER_SECONDS_MAX = 5.0

Ends = Mapping[TP, int]


class Watching:
    """Asks the broker for the ends of partitions, and holds them against how far each was read.

    A broker that does not answer says nothing about this worker: only its own standing still
    beside records that are known to wait counts, or beside a broker that is known to answer. For
    that there is ``broker_answers``, on another connection than the consumer's.
    """

    def __init__(
        self,
        app: Any,
        phases: Iterable[Partitions[Any]],
        progress: Progress,
        broker_answers: Callable[[], Awaitable[object]],
    ) -> None:
        self._app = app
        self._phases = tuple(phases)
        self._progress = progress
        self._broker_answers = broker_answers
        #: A question that has no answer yet. Asking again would only queue behind it.
        self._asked: asyncio.Future[Ends] | None = None

    async def look(self) -> None:
        """Raise Stalled for what has not moved for too long."""
        if self._app.rebalancing or not self._app.tables.actives_ready:
            self._progress.check({ASSIGNMENT: self._recovered()})
        else:
            self._progress.check(await self._standing())

    async def _standing(self) -> dict[str, object]:
        """How far everything has come that is known to have more to do."""
        places: dict[TP, int] = {}
        flushed: dict[TP, int] = {}
        for phase in self._phases:
            places.update(phase.places())
            flushed.update(phase.unflushed())
        if not places:
            return {}
        ends = await self._ends(places)
        if ends is None:
            return {CONSUMER: self._app.consumer_generation_id} if await self._answers() else {}
        return {
            **{f"reading {_name(tp)}": at for tp, at in places.items() if ends.get(tp, 0) > at},
            **{f"flushing {_name(tp)}": at for tp, at in flushed.items()},
        }

    async def _ends(self, places: Iterable[TP]) -> Ends | None:
        if self._asked is None:
            self._asked = asyncio.ensure_future(self._app.consumer.highwaters(*places))
        answered, _ = await asyncio.wait({self._asked}, timeout=ANSWER_SECONDS_MAX)
        if not answered:
            return None
        asked, self._asked = self._asked, None
        if asked.cancelled():  # not ours: the consumer's thread has let go of the question
            return None
        try:
            return asked.result()
        except (KafkaError, TimeoutError):
            return None

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self._broker_answers()
        except (TransportError, TimeoutError):
            return False
        return True

    def _recovered(self) -> object:
        offsets = self._app.tables.recovery.active_offsets.values()
        held = sum(len(phase.held) for phase in self._phases)
        return self._app.consumer_generation_id, held, sum(one or 0 for one in offsets)


def _name(tp: TP) -> str:
    return f"{tp.topic}-{tp.partition}"
