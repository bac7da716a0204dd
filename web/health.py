"""Whether a worker is ready to serve, and why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analytics.topics import Topics
from web.holding import Held


@dataclass(frozen=True, slots=True)
class Health:
    """Readiness says that this worker's share is served; liveness that the process runs."""

    app: Any
    topics: Topics
    sources: Held
    metrics: Held

    def not_ready(self) -> list[str]:
        """Reasons not to send this worker anything, none when it is ready."""
        reasons = []
        if not self.app.tables.actives_ready:
            reasons.append("partitions are being assigned or recovered")
        if self.app.rebalancing:
            reasons.append("rebalancing")
        if not reasons:
            reasons += self._not_held(self.topics.events, self.sources)
            reasons += self._not_held(self.topics.partials, self.metrics)
        return reasons

    def _not_held(self, topic: str, phase: Held) -> list[str]:
        """Partitions that the group gave to this worker and that it does not serve."""
        assigned = {tp.partition for tp in self.app.consumer.assignment() if tp.topic == topic}
        missing = sorted(assigned.difference(phase.held))
        return [f"partitions {missing} of {topic} are not taken over"] if missing else []

    def describe(self) -> Mapping[str, object]:
        """What this worker owns, for people."""
        return {
            "source_partitions": sorted(self.sources.held),
            "metric_partitions": sorted(self.metrics.held),
        }
