"""What the views need of a worker's state; the agents provide it, and neither imports the other."""

from collections.abc import Collection
from typing import Protocol

from analytics.core.definitions.metric import Metric
from analytics.core.live.metric import LiveMetric


class Holding(Protocol):
    """The metrics that this worker merges."""

    def owner(self, metric: Metric) -> int:
        """The partition of `partials` whose owner merges ``metric``."""

    def owns(self, metric: Metric) -> bool:
        """Whether this worker does."""

    def live(self, metric: Metric) -> LiveMetric | None:
        """Its state here, None while nothing was heard of it."""


class Held(Protocol):
    """The partitions of one phase."""

    @property
    def held(self) -> Collection[int]:
        """Numbers of the partitions this worker owns."""
