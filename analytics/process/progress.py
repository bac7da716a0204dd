"""Notices work that waits and does not move: a worker that hangs holds what others could serve."""

from collections.abc import Callable

from analytics import clock
from analytics.errors import AnalyticsError


class Stalled(AnalyticsError):
    """Something has not moved for too long though there was work to do."""


class Progress:
    """Remembers how far things have come, and when each of them last moved."""

    def __init__(
        self, still_seconds_max: float, now: Callable[[], float] = clock.monotonic
    ) -> None:
        self._max = still_seconds_max
        self._now = now
        self._moved: dict[str, tuple[object, float]] = {}

    def check(self, what: str, mark: object, *, waiting: bool) -> None:
        """Note that ``what`` has come to ``mark``, with or without more work waiting.

        Raises Stalled when it has waited at the same mark for longer than the maximum.
        """
        known = self._moved.get(what)
        if known is None or known[0] != mark or not waiting:
            self._moved[what] = (mark, self._now())
            return
        still = self._now() - known[1]
        if still > self._max:
            raise Stalled(
                f"{what} has not moved for {still:.0f} s though there is work to do (at {mark}); "
                "this worker ends, start it again"
            )
