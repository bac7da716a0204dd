"""Whether a worker is ready to serve, and why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from web.holding import Held


@dataclass(frozen=True, slots=True)
class Health:
    """Readiness says that this worker's share is served; liveness that the process runs."""

    app: Any
    sources: Held
    metrics: Held

    def not_ready(self) -> list[str]:
        """Reasons not to send this worker anything, none when it is ready."""
        reasons = []
        if not self.app.tables.actives_ready:
            reasons.append("partitions are being assigned or recovered")
        if self.app.rebalancing:
            reasons.append("rebalancing")
        return reasons

    def describe(self) -> Mapping[str, object]:
        """What this worker owns, for people."""
        return {
            "source_partitions": sorted(self.sources.held),
            "metric_partitions": sorted(self.metrics.held),
        }
