"""Notices that the process stood still for too long to still own what it believes it owns."""

from analytics import clock
from analytics.errors import AnalyticsError


class StoodStill(AnalyticsError):
    """The process was paused or blocked; its partitions may belong to another worker by now."""


class Pulse:
    """A beat from the event loop; who is about to write asks whether it has been missing.

    A worker that was paused beyond the group's session lost its partitions and does not know it.
    What it would write is ignored (see `tables.segments`), but it would also take events for its
    own, so it ends before it writes anything.
    """

    def __init__(self, still_seconds_max: float = float("inf")) -> None:
        self._max = still_seconds_max
        # None until the first beat: before that the process owns nothing.
        self._beat_at: float | None = None

    async def beat(self) -> None:
        """Called at a steady interval, well below the maximum."""
        self.check()
        self._beat_at = clock.monotonic()

    def check(self) -> None:
        """Raise StoodStill when the last beat is too long ago."""
        if self._beat_at is None:
            return
        still = clock.monotonic() - self._beat_at
        if still > self._max:
            raise StoodStill(
                f"this process stood still for {still:.1f} s and may have lost its partitions; "
                "it ends without writing, start it again"
            )
