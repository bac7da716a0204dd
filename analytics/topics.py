"""Every name that reaches Kafka: topics, group and tables; they stand here and nowhere else."""

import zlib
from dataclasses import dataclass

DAY_MS = 86_400_000

#: Table names; a changelog topic is called ``{group}-{table}-changelog``.
PANES_TABLE = "panes"
MERGED_TABLE = "merged"
TABLES = (PANES_TABLE, MERGED_TABLE)

#: Small log segments and eager cleaning keep a recovery short.
CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",
    "segment.bytes": str(64 << 20),
    "min.cleanable.dirty.ratio": "0.2",
    "delete.retention.ms": str(DAY_MS),
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What `analytics topics create` makes: ``partitions`` None means one."""

    name: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of one deployment: its topics, and its consumer group with what hangs on that."""

    prefix: str = ""
    app_id: str = "analytics-stream"

    @property
    def group(self) -> str:
        """Consumer group of the stream workers, which is also what Faust calls the app."""
        return f"{self.prefix}{self.app_id}"

    def changelog(self, table: str) -> str:
        """Changelog topic of a table. Faust derives the same name from the group."""
        return f"{self.group}-{table}-changelog"

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

    def changelogs(self, partitions: int) -> tuple[TopicSpec, ...]:
        """The topics that hold the workers' state. They must exist before a worker joins the group:
        Faust leaves a topic that it does not see yet out of its assignment.
        """
        return tuple(
            TopicSpec(self.changelog(table), partitions, CHANGELOG_CONFIG) for table in TABLES
        )

    def specs(self, partitions: int) -> tuple[TopicSpec, ...]:
        """The topics that people and programs write and read."""
        bounded = {"cleanup.policy": "delete"}
        return (
            TopicSpec(self.events, partitions, bounded | {"retention.ms": str(7 * DAY_MS)}),
            TopicSpec(self.partials, partitions, bounded | {"retention.ms": str(DAY_MS)}),
            TopicSpec(self.dead_letters, 1, bounded | {"retention.ms": str(30 * DAY_MS)}),
        )


#: Agent names: part of consumer and log identity, so never derived from a function's name.
AGGREGATE_AGENT = "aggregate"
MERGE_AGENT = "merge"


def owner_partition(metric_name: str, partitions: int) -> int:
    """Partition of `partials` whose owner merges ``metric_name``.

    By name rather than by version, so that a changed definition does not move to another worker.
    """
    return zlib.crc32(metric_name.encode()) % partitions
