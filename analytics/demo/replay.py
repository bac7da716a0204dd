"""Owns sending live events at a steady rate; must not know what the events are."""

import asyncio
from asyncio import Future
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Protocol, TypeAlias

from aiokafka.errors import KafkaError

from analytics import clock
from analytics.errors import TransportError
from analytics.settings import Settings
from analytics.transport.sending import open_producer, partitions_of

TICK_SECONDS = 0.05
#: Events of a record; those of the demo have 250 bytes.
RECORD_EVENTS_MAX = 2_000
#: Records that may wait for their acknowledgement.
IN_FLIGHT_MAX = 256
#: A sender held up for longer does not make up for all of it.
DEBT_SECONDS_MAX = 1.0


UnderWay: TypeAlias = deque[tuple[int, Future[Any]]]


class Events(Protocol):
    """An endless supply of events."""

    def take(self, count: int, now_ms: int) -> bytes:
        """NDJSON of the next `count` events (at least 1), all of the time `now_ms`."""


@dataclass(slots=True)
class Progress:
    """Events so far; `acknowledged` never runs ahead of what Kafka has confirmed."""

    sent: int = 0
    acknowledged: int = 0


async def replay(
    settings: Settings,
    topic: str,
    events: Events,
    rate: float,
    stop: asyncio.Event,
    progress: Progress,
) -> None:
    """Send `rate` events a second until `stop` is set; returns once all are acknowledged.

    Every tick goes to all partitions, so that none falls behind and holds the watermark back. An
    event's time is the moment at which it is sent. Raises TransportError when Kafka fails.
    """
    async with open_producer(settings, "analytics-replay") as producer:
        partitions = await partitions_of(producer, topic)
        turns = cycle(partitions)
        pace = Pace(rate, clock.monotonic())
        under_way: UnderWay = deque()
        try:
            while not stop.is_set():
                for count in shares(pace.owed(clock.monotonic()), len(partitions)):
                    value = events.take(count, clock.now_ms())
                    settled = await producer.send(topic, value, partition=next(turns))
                    under_way.append((count, settled))
                    progress.sent += count
                await _settle(under_way, progress, IN_FLIGHT_MAX)
                await _pause(stop)
            await _settle(under_way, progress, 0)
        except KafkaError as error:
            message = f"Kafka no longer takes records: {error}"
            raise TransportError(message, recoverable=bool(error.retriable)) from error


class Pace:
    """How many events are due: `rate` a second, in whole numbers that add up."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._began = now
        self._given = 0

    def owed(self, now: float) -> int:
        """Events due at `now` (seconds) that were not given before, and counts them as given."""
        due = (now - self._began) * self._rate - self._given
        due_max = DEBT_SECONDS_MAX * self._rate
        if due > due_max:
            self._began += (due - due_max) / self._rate
            due = due_max
        count = max(0, int(due))
        self._given += count
        return count


def shares(count: int, width: int) -> list[int]:
    """`count` events as even shares of a tick: `width` of them, or as many as have any or fit."""
    pieces = max(min(count, width), -(-count // RECORD_EVENTS_MAX))
    return [count // pieces + (place < count % pieces) for place in range(pieces)]


async def _settle(under_way: UnderWay, progress: Progress, remaining_max: int) -> None:
    """Wait for the oldest records until `remaining_max` are left; count those that are done."""
    while under_way and (len(under_way) > remaining_max or under_way[0][1].done()):
        count, settled = under_way.popleft()
        await settled
        progress.acknowledged += count


async def _pause(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), TICK_SECONDS)
