"""Notices work that waits and does not move: a worker that hangs holds what others could serve."""

from collections.abc import Callable, Mapping

from analytics import clock
from analytics.errors import AnalyticsError


class Stalled(AnalyticsError):
    """Something has not moved for too long though there was work to do."""


class Progress:
    """Remembers how far things had come that had work to do, and since when they stand there."""

    def __init__(
        self, still_seconds_max: float, now: Callable[[], float] = clock.monotonic
    ) -> None:
        self._max = still_seconds_max
        self._now = now
        self._standing: dict[str, tuple[object, float]] = {}

    def check(self, waiting: Mapping[str, object]) -> None:
        """Note how far everything has come that has work to do now, by name.

        What is left out is forgotten: only standing still that was seen from one check to the next
        counts. Raises Stalled when something stood at the same mark for longer than the maximum.
        """
        now = self._now()
        before = self._standing
        self._standing = {}
        for what, mark in waiting.items():
            known = before.get(what)
            self._standing[what] = (mark, now) if known is None or known[0] != mark else known
        for what, (mark, since) in self._standing.items():
            if now - since > self._max:
                raise Stalled(
                    f"{what} has not moved for {now - since:.0f} s though there is work to do "
                    f"(at {mark}); this worker ends, start it again"
                )
