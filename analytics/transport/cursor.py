"""What a consumer of batches asks of the state that they feed, and tells it."""

from typing import Protocol

from faust.types import TP


class Cursor(Protocol):
    """The state that batch topics feed, as their consumer sees it."""

    def position(self, tp: TP) -> int | None:
        """Offset to read ``tp`` from; None when nothing of it was ever applied."""

    def reading_from(self, tp: TP, offset: int) -> None:
        """The next batch of ``tp`` begins at ``offset``."""

    def committed(self, tp: TP, offset: int) -> None:
        """The group accepted the commit of ``offset``, so ``tp`` was ours when it was issued."""

    async def before_revoke(self) -> None:
        """Make everything durable: the partitions are still ours, but not for long."""
