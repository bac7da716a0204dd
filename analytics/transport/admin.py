"""Owns creating the topics of the system; must not change or delete one that exists."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from analytics import clock
from analytics.errors import TransportError
from analytics.settings import Settings
from analytics.topics import Topics, TopicSpec
from analytics.transport.access import client_options

REPLICAS_MAX = 3
LEADER_SECONDS_MAX = 15.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A topic that exists with another number of partitions than the settings ask for."""

    topic: str
    partitions: int
    wanted: int

    def __str__(self) -> str:
        return (
            f"{self.topic}: has {self.partitions} partitions, the settings ask for {self.wanted}: "
            f"set ANALYTICS_PARTITIONS to {self.partitions}, or delete the topic; "
            "metrics are counted by partition, so it cannot be changed in place"
        )


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What became of each topic, in the order of the specifications."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]


async def create_topics(settings: Settings) -> TopicReport:
    """Create what is missing and wait until it has leaders; safe to repeat and to race.

    Changelogs included, so that who runs the workers need not be allowed to create topics.

    A topic has as many replicas as there are brokers, three at most. Raises TransportError when
    Kafka cannot be reached or refuses one.
    """
    topics = Topics(settings.topic_prefix, settings.app_id)
    specs = topics.specs(settings.partitions) + topics.changelogs(settings.partitions)
    names = [spec.name for spec in specs]
    try:
        async with _admin(settings) as admin:
            before = set(await admin.list_topics())
            created = await _create(admin, [spec for spec in specs if spec.name not in before])
            counts = await _led_partitions(admin, names)
    except KafkaError as error:
        raise TransportError(f"cannot create topics: {error}", recoverable=True) from error
    return TopicReport(
        created=tuple(name for name in names if name in created),
        existing=tuple(name for name in names if name not in created),
        mismatched=_mismatches(specs, counts),
    )


async def prepare_topics(settings: Settings) -> None:
    """What a worker does before it joins the group: create its changelogs where they are missing.

    Raises TransportError when another topic is missing, or one has other partitions than the
    settings say: events of partitions that nobody counts on would be dropped.
    """
    topics = Topics(settings.topic_prefix, settings.app_id)
    changelogs = topics.changelogs(settings.partitions)
    specs = topics.specs(settings.partitions) + changelogs
    try:
        async with _admin(settings) as admin:
            existing = set(await admin.list_topics())
            await _create(admin, [spec for spec in changelogs if spec.name not in existing])
            existing.update(spec.name for spec in changelogs)
            missing = [spec.name for spec in specs if spec.name not in existing]
            if missing:
                raise TransportError(
                    f"no such topics: {', '.join(missing)}: run `analytics topics create`",
                    recoverable=True,
                )
            counts = await _led_partitions(admin, [spec.name for spec in specs])
    except KafkaError as error:
        raise TransportError(f"cannot prepare topics: {error}", recoverable=True) from error
    wrong = _mismatches(specs, counts)
    if wrong:
        raise TransportError("\n".join(map(str, wrong)), recoverable=False)


def _mismatches(specs: Sequence[TopicSpec], counts: Mapping[str, int]) -> tuple[Mismatch, ...]:
    return tuple(
        Mismatch(spec.name, counts[spec.name], spec.partitions)
        for spec in specs
        if counts[spec.name] != spec.partitions
    )


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings, "analytics-topics"))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> Collection[str]:
    """The names of those that this call created; one that somebody else made first is not."""
    if not specs:
        return ()
    replicas = min(REPLICAS_MAX, len((await admin.describe_cluster())["brokers"]))
    topics = [
        NewTopic(spec.name, spec.partitions, replicas, topic_configs=spec.config) for spec in specs
    ]
    response = await admin.create_topics(topics)
    created = []
    for name, code, *detail in response.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(name)
        elif error is not TopicAlreadyExistsError:
            said = next(filter(None, detail), None) or error.__name__
            raise TransportError(f"Kafka refused topic {name}: {said}", recoverable=error.retriable)
    return created


async def _led_partitions(admin: AIOKafkaAdminClient, names: Sequence[str]) -> Mapping[str, int]:
    """The number of partitions of each topic, once all of them have a leader."""
    deadline = clock.monotonic() + LEADER_SECONDS_MAX
    while True:
        described = await admin.describe_topics(list(names))
        waiting = [
            topic["topic"]
            for topic in described
            if topic["error_code"] or any(one["error_code"] for one in topic["partitions"])
        ]
        if not waiting:
            return {topic["topic"]: len(topic["partitions"]) for topic in described}
        if clock.monotonic() > deadline:
            raise TransportError(f"no leader yet: {', '.join(waiting)}", recoverable=True)
        await asyncio.sleep(POLL_SECONDS)
