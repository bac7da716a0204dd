"""Keeps worker processes running: starts again what ends, and ends all of them together."""

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from analytics import clock
from analytics.process.child import ChildProcess

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.1
#: The first time a child is started again at once: within its session nobody else notices. One that
#: goes on ending waits twice as long each time, up to the greatest pause.
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 1.0, 30.0
#: A child that has lived so long is well: the next end is a first one again.
WELL_SECONDS = 60.0
#: Whoever is asked to end before he listens to such requests has not begun anything either.
_IN_ORDER = frozenset({0, -signal.SIGTERM})


@dataclass(slots=True)
class Kept:
    """A child by its name, and what it takes to keep it running. Times are monotonic."""

    name: str
    child: ChildProcess
    started_at: float = 0.0
    #: When to start it again; None while it runs.
    due_at: float | None = None
    #: Ends in a row, none of them after a life that was long enough.
    ends: int = 0


class Supervisor:
    """Runs ``children``, by name, until it is told to stop; call it in the main thread."""

    def __init__(self, children: Sequence[tuple[str, ChildProcess]]) -> None:
        self._kept = [Kept(name, child) for name, child in children]

    async def run(self, stop: asyncio.Event, stop_seconds_max: float) -> bool:
        """Keep them running until ``stop``, then end them; whether all ended in order.

        Whoever has not ended by ``stop_seconds_max`` after being asked to is killed, whatever
        else makes this end as well. Raises OSError when one cannot be started at first.
        """
        try:
            for kept in self._kept:
                self._start(kept)
            while not await _set_within(stop, POLL_SECONDS):
                for kept in self._kept:
                    self._look_after(kept)
            return await self._end(stop_seconds_max)
        finally:
            for kept in self._kept:
                kept.child.kill()

    def _look_after(self, kept: Kept) -> None:
        now = clock.monotonic()
        if kept.due_at is None:
            code = kept.child.exit_code
            if code is None:
                return
            kept.child.kill()  # of its group somebody may be left
            kept.ends = 1 if now - kept.started_at > WELL_SECONDS else kept.ends + 1
            pause = _pause_seconds(kept.ends)
            kept.due_at = now + pause
            log.error("a process ended", name=kept.name, exit_code=code, again_in_seconds=pause)
        elif now >= kept.due_at:
            try:
                self._start(kept)
            except OSError as error:  # the others go on while the machine has no room for it
                kept.ends += 1
                kept.due_at = now + _pause_seconds(kept.ends)
                log.error("did not start a process", name=kept.name, error=str(error))

    def _start(self, kept: Kept) -> None:
        kept.child.start()
        kept.started_at, kept.due_at = clock.monotonic(), None
        log.info("started a process", name=kept.name, pid=kept.child.pid)

    async def _end(self, seconds_max: float) -> bool:
        """Ask those that run to end, all at once, and wait for them."""
        running = [kept for kept in self._kept if kept.child.pid is not None]
        for kept in running:
            kept.child.terminate()
        deadline = clock.monotonic() + seconds_max
        while any(kept.child.exit_code is None for kept in running):
            if clock.monotonic() > deadline:
                break
            await asyncio.sleep(POLL_SECONDS)
        others = [kept for kept in running if kept.child.exit_code not in _IN_ORDER]
        for kept in others:
            log.error("not ended in order", name=kept.name, exit_code=kept.child.exit_code)
        return not others


def _pause_seconds(ends: int) -> float:
    """How long to wait after so many ends in a row: at once, then doubling."""
    return 0.0 if ends == 1 else min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0 ** (ends - 2))


async def _set_within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        return await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
