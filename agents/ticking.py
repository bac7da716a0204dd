"""A service that calls a coroutine function at a steady interval; it knows not what for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mode import Service

from analytics import clock

Tick = Callable[[], Awaitable[None]]


class Ticking(Service):
    """Calls ``tick`` every ``interval_seconds``, never two at once; an error crashes the worker.

    A tick that fails is not worth retrying here: what is durable stays so, and a restarted worker
    takes up from there, whereas one that limps on would hold partitions and not serve them.
    """

    def __init__(self, tick: Tick, interval_seconds: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._tick = tick
        self._interval = interval_seconds

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            began = clock.monotonic()
            try:
                await self._tick()
            except Exception as error:
                await self.crash(error)
                return
            await asyncio.sleep(max(0.0, self._interval - (clock.monotonic() - began)))
