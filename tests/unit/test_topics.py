"""The names that reach Kafka: they are forever, so a change of one must be meant."""

import pytest

from analytics.topics import MERGED_TABLE, PANES_TABLE, Topics, owner_partition


def test_names_carry_the_prefix_of_the_deployment() -> None:
    topics = Topics("prod-", "worker")
    assert (topics.events, topics.partials) == ("prod-events", "prod-partials")
    assert topics.dead_letters == "prod-dead-letters"
    assert topics.group == "prod-worker"
    assert topics.changelog(PANES_TABLE) == "prod-worker-panes-changelog"
    assert topics.changelog(MERGED_TABLE) == "prod-worker-merged-changelog"


def test_without_a_prefix_names_are_bare() -> None:
    assert (Topics().events, Topics().group) == ("events", "analytics-stream")


def test_the_topics_to_create_have_the_partitions_asked_for_and_an_end_of_life() -> None:
    specs = {spec.name: spec for spec in Topics().specs(12)}
    assert (specs["events"].partitions, specs["partials"].partitions) == (12, 12)
    assert specs["dead-letters"].partitions == 1
    days = {
        name: int(spec.config["retention.ms"]) // 86_400_000
        for name, spec in specs.items()
        if "retention.ms" in spec.config
    }
    assert days == {"events": 7, "partials": 1, "dead-letters": 30}


@pytest.mark.parametrize(
    ("name", "partition"), [("departures", 7), ("visits", 2), ("delays", 7), ("cancelled", 7)]
)
def test_a_metric_stays_with_its_partition_from_version_to_version(
    name: str, partition: int
) -> None:
    assert owner_partition(name, 8) == partition


def test_owners_are_spread_over_the_partitions() -> None:
    owners = [owner_partition(f"metric_{number}", 8) for number in range(400)]
    assert set(owners) == set(range(8))
    assert max(map(owners.count, range(8))) < 100
