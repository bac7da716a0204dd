"""Every name that reaches Kafka: topics, group and tables; they stand here and nowhere else."""

import zlib
from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What `analytics topics create` makes: ``partitions`` None means one."""

    name: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic names of one deployment, each with its prefix."""

    prefix: str = ""

    @property
    def events(self) -> str:
        """Raw events as NDJSON."""
        return f"{self.prefix}events"

    @property
    def partials(self) -> str:
        """Partial aggregates from phase 1 to phase 2."""
        return f"{self.prefix}partials"

    @property
    def dead_letters(self) -> str:
        """Rejected lines with their reason."""
        return f"{self.prefix}dead-letters"

    def specs(self, partitions: int) -> tuple[TopicSpec, ...]:
        """Topics to create. Changelogs are created by the worker: their names hang on its id."""
        bounded = {"cleanup.policy": "delete"}
        return (
            TopicSpec(self.events, partitions, bounded | {"retention.ms": str(7 * DAY_MS)}),
            TopicSpec(self.partials, partitions, bounded | {"retention.ms": str(DAY_MS)}),
            TopicSpec(self.dead_letters, 1, bounded | {"retention.ms": str(30 * DAY_MS)}),
        )


#: Table names; a changelog topic is called ``{app id}-{table}-changelog``.
PANES_TABLE = "panes"
MERGED_TABLE = "merged"

#: Agent names: part of consumer and log identity, so never derived from a function's name.
AGGREGATE_AGENT = "aggregate"
MERGE_AGENT = "merge"


def owner_partition(metric_name: str, partitions: int) -> int:
    """Partition of `partials` whose owner merges ``metric_name``.

    By name rather than by version, so that a changed definition does not move to another worker.
    """
    return zlib.crc32(metric_name.encode()) % partitions
