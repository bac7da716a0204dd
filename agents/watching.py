"""Watches that every partition this worker holds moves on while there is something to read."""

from collections.abc import Iterable
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from agents.partitions import Partitions
from analytics.process.progress import Progress

ASSIGNMENT = "the assignment of partitions"


class Watching:
    """Asks the broker for the ends of partitions, and holds them against how far each was read.

    A broker that does not answer says nothing about this worker: only its own standing still
    beside records that are known to wait counts.
    """

    def __init__(self, app: Any, phases: Iterable[Partitions[Any]], progress: Progress) -> None:
        self._app = app
        self._phases = tuple(phases)
        self._progress = progress

    async def look(self) -> None:
        """Raise Stalled for what has not moved for too long."""
        if self._app.rebalancing or not self._app.tables.actives_ready:
            self._progress.check({ASSIGNMENT: self._recovered()})
        else:
            self._progress.check(await self._behind())

    async def _behind(self) -> dict[str, int]:
        """How far each partition was read behind whose place there are records, as far as known."""
        places: dict[TP, int] = {}
        for phase in self._phases:
            places.update(phase.places())
        if not places:
            return {}
        try:
            ends = await self._app.consumer.highwaters(*places)
        except (KafkaError, TimeoutError):
            return {}
        return {
            f"{tp.topic}-{tp.partition}": place for tp, place in places.items() if ends[tp] > place
        }

    def _recovered(self) -> object:
        offsets = self._app.tables.recovery.active_offsets.values()
        held = sum(len(phase.held) for phase in self._phases)
        return self._app.consumer_generation_id, held, sum(one or 0 for one in offsets)
