"""Notices that the process stood still for too long to still own what it believes it owns."""

import asyncio
import faulthandler
import os
import threading

import structlog

from analytics import clock
from analytics.errors import AnalyticsError

log = structlog.get_logger(__name__)

BEAT_SECONDS = 0.5


class StoodStill(AnalyticsError):
    """The process was paused; its partitions may belong to another worker by now."""


class Pulse:
    """A beat from a thread of its own; who is about to write asks whether it was missing.

    A worker that was paused beyond the group's session lost its partitions and does not know it.
    What it would write is ignored (see `tables.segments`), but it would also answer queries from
    what it holds, so it ends before it does anything else.

    A thread, because the group's heartbeats come from one too: while the event loop is busy the
    session goes on, and nothing is wrong. But a loop that is blocked for good would hold its
    partitions for ever, so the thread watches it as well and ends the process.
    """

    def __init__(
        self,
        still_seconds_max: float = float("inf"),
        blocked_seconds_max: float = float("inf"),
    ) -> None:
        self._max = still_seconds_max
        self._blocked_max = blocked_seconds_max
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Beats since the loop last came round. Beats, not seconds: a pause is not its fault.
        self._beats_unanswered = 0
        self._beat_at = clock.monotonic()
        self._end_at = float("inf")
        self._still = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._beat_at = clock.monotonic()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the process when ``loop``, which must be running, is blocked beyond the maximum."""
        self._loop = loop
        self._answer()

    def end_within(self, seconds: float) -> None:
        """End the process when it has not ended by then, or `stop` was called.

        What it waits for, a broker or a disk, may never answer. The first call counts.
        """
        self._end_at = min(self._end_at, clock.monotonic() + seconds)

    def stop(self) -> None:
        """Beat no more; `check` then has nothing to say."""
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._thread = self._loop = None

    def check(self) -> None:
        """Raise StoodStill when the process was paused for longer than the maximum, ever."""
        self._note()
        if self._still > self._max:
            raise StoodStill(
                f"this process stood still for {self._still:.1f} s and may have lost its "
                "partitions; it ends without writing, start it again"
            )

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            self._note()
            self._beat_at = clock.monotonic()
            if self._beat_at > self._end_at:
                self._end("this worker does not come to an end; it is ended")
            if self._loop is not None:
                self._beats_unanswered += 1
                if self._beats_unanswered * BEAT_SECONDS > self._blocked_max:
                    self._end("the event loop is blocked; this worker ends")

    def _note(self) -> None:
        # The longest pause is kept: a beat after waking up must not hide it.
        if self._thread is not None:
            self._still = max(self._still, clock.monotonic() - self._beat_at)

    def _answer(self) -> None:
        self._beats_unanswered = 0
        if self._loop is not None:
            self._loop.call_later(BEAT_SECONDS, self._answer)

    def _end(self, reason: str) -> None:
        # Nothing can be flushed without the loop, and nothing has to be: the next owner takes up
        # at the last flush.
        log.error(reason, loop_silent_seconds=self._beats_unanswered * BEAT_SECONDS)
        faulthandler.dump_traceback()
        os._exit(1)
