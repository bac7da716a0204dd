"""Composition root: builds the stream worker's Faust application out of a configuration.

`faust -A analytics.app worker` finds `app` here; it is built when it is first asked for, from the
environment, so that importing this module does nothing.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

import faust
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from faust.types import TP

from agents.aggregate import Aggregate
from agents.context import Context
from agents.merge import MergeAgent
from agents.partitions import Partitions
from agents.ticking import Ticking
from agents.watching import Watching
from analytics.configuration import Configuration, load_configuration
from analytics.metrics import Metrics
from analytics.process.identity import Identity
from analytics.process.progress import Progress
from analytics.process.pulse import Pulse
from analytics.settings import Settings, process_environment
from analytics.topics import (
    AGGREGATE_AGENT,
    MERGE_AGENT,
    MERGED_TABLE,
    PANES_TABLE,
    Topics,
)
from analytics.transport.access import client_options
from analytics.transport.admin import prepare_topics
from analytics.transport.batch import BatchTransport
from analytics.transport.producer import DurableProducer
from analytics.transport.records import RecordBatchSchema
from tables.changelog import SegmentTable
from web import views
from web.answering import Answering
from web.health import Health
from web.peers import Peers

PORT_DEFAULT = 6066
#: Batches waiting for an agent, a topic and worker; one may be a fetch of every partition.
QUEUED_BATCHES_MAX = 16
COMMIT_INTERVAL_SECONDS = 1.0
#: Sessions that the group waits for a member to join once more: it has to flush before it does.
#: One that died while it waited for the others is missed only after this, so it bounds a takeover.
REBALANCE_SESSIONS = 1.5
ANSWER_SLACK_SECONDS = 5.0
#: An event loop that is blocked for so many sessions, but not less than some seconds, stays so.
BLOCKED_SESSIONS = 3
BLOCKED_SECONDS_MIN = 15.0
#: Sessions for which a partition may stand still beside records that wait.
STALLED_SESSIONS = 6
WATCH_SECONDS = 5.0
#: Heartbeats come from a thread of their own; with partitions paused nothing polls for long.
MAX_POLL_INTERVAL_SECONDS = 86_400.0


#: How long a worker may take to end, in order or not, before it is ended.
END_SECONDS_MAX = 20.0


class WorkerCursor:
    """What the consumer asks and tells, passed on to the phase whose topic it is."""

    def __init__(self, phases: dict[str, Partitions[Any]]) -> None:
        self._phases = phases

    def position(self, tp: TP) -> int | None:
        """See `analytics.transport.cursor.Cursor`."""
        return self._phases[tp.topic].position(tp.partition)

    def reading_from(self, tp: TP, offset: int) -> None:
        """See `analytics.transport.cursor.Cursor`."""
        self._phases[tp.topic].reading_from(tp.partition, offset)

    def committed(self, tp: TP, offset: int) -> None:
        """See `analytics.transport.cursor.Cursor`."""
        self._phases[tp.topic].committed(tp.partition, offset)

    async def before_revoke(self) -> None:
        """Flush everything, phase 1 first: it feeds phase 2."""
        for phase in self._phases.values():
            await phase.before_revoke()


class StreamApp(faust.App):
    """The Faust app with what it needs beside Faust: a producer of its own and the flush timers."""

    settings: Settings
    durable: DurableProducer
    cursor: WorkerCursor
    timers: tuple[Ticking, ...]
    watch: Ticking
    pulse: Pulse
    identity: Identity

    async def on_first_start(self) -> None:
        """Claim the data directory before Faust uses it, which makes no parents of it."""
        name = self.identity.claim(str(self.conf.canonical_url))
        cast(BatchTransport, self.transport).member_name = name
        await super().on_first_start()

    async def on_start(self) -> None:
        """Look at the topics and connect before the first partition can be taken over."""
        await prepare_topics(self.settings)
        self.pulse.start()
        self.pulse.watch(asyncio.get_running_loop())
        await self.durable.start()
        await super().on_start()
        await self.add_runtime_dependency(self.watch)

    async def on_started_init_extra_services(self) -> None:
        """Start flushing once the first recovery is over."""
        await super().on_started_init_extra_services()
        for timer in self.timers:
            await self.add_runtime_dependency(timer)

    def _crash(self, reason: BaseException) -> None:
        """Nothing that is under way has to be waited for: what is durable stays so."""
        self.pulse.end_within(END_SECONDS_MAX)
        super()._crash(reason)

    async def on_stop(self) -> None:
        """Flush and commit while the partitions are still ours."""
        self.pulse.end_within(END_SECONDS_MAX)
        if self.tables.actives_ready and not self.rebalancing and not self.crashed:
            await self.cursor.before_revoke()
            await self.consumer.commit()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """Disconnect the producer once nothing is left that flushes."""
        await super().on_shutdown()
        await self.durable.stop()
        self.pulse.stop()
        self.identity.release()


def create_app(configuration: Configuration) -> StreamApp:
    """A worker's app, ready to be started by `analytics.worker` or Faust's command line."""
    settings, catalog = configuration.settings, configuration.catalog
    topics = Topics(settings.topic_prefix, settings.app_id)
    app = _faust_app(settings, topics.group)
    session = settings.session_timeout_ms / 1000
    pulse = Pulse(session / 2, max(BLOCKED_SECONDS_MIN, BLOCKED_SESSIONS * session))
    producer = DurableProducer(client_options(settings, f"{topics.group}-flush"), pulse.check)
    context = Context(app, settings, catalog, topics, producer, Metrics(), pulse)
    panes, merged = _table(app, settings, PANES_TABLE), _table(app, settings, MERGED_TABLE)
    aggregate, merge = Aggregate(context, panes), MergeAgent(context, merged)
    for table, phase in ((panes, aggregate.partitions), (merged, merge.partitions)):
        table.take_over = phase.take_over
        table.release = phase.release
        table.identify = producer.topic_id
    phases: dict[str, Partitions[Any]] = {
        topics.events: aggregate.partitions,
        topics.partials: merge.partitions,
    }
    interval = settings.flush_interval_ms / 1000
    app.settings = settings
    app.durable = producer
    app.cursor = WorkerCursor(phases)
    watching = Watching(
        app,
        phases.values(),
        Progress(STALLED_SESSIONS * session),
        lambda: producer.topic_id(topics.events),
    )
    app.timers = tuple(Ticking(phase.flush_all, interval) for phase in phases.values())
    app.watch = Ticking(watching.look, WATCH_SECONDS)
    app.pulse = pulse
    app.identity = Identity(_directory(app, settings))
    app.transport = BatchTransport(
        app,
        batch_topics=phases,
        cursor=app.cursor,
        changelogs=[table.changelog_topic_name for table in (panes, merged)],
    )
    app.agent(_channel(app, topics.events), name=AGGREGATE_AGENT)(aggregate.partitions.consume)
    app.agent(_channel(app, topics.partials), name=MERGE_AGENT)(merge.partitions.consume)
    answering = Answering(catalog, merge, Peers(app, MERGED_TABLE), settings.partitions)
    health = Health(app, topics, aggregate.partitions, merge.partitions)
    views.register(app, answering, health, context.metrics)
    return app


def _faust_app(settings: Settings, group: str) -> StreamApp:
    port = settings.port or PORT_DEFAULT
    return StreamApp(
        group,
        broker=";".join(f"kafka://{server}" for server in settings.broker),
        broker_credentials=_credentials(settings),
        datadir=str(settings.data_dir),
        store="memory://",
        autodiscover=False,
        # Exactly what the broker has, so that a restart finds its partitions: see docs/adr.
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=COMMIT_INTERVAL_SECONDS,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.session_timeout_ms / 1000 / 5,
        broker_rebalance_timeout=REBALANCE_SESSIONS * settings.session_timeout_ms / 1000,
        broker_request_timeout=_answer_seconds_max(settings),
        broker_max_poll_interval=MAX_POLL_INTERVAL_SECONDS,
        broker_check_crcs=settings.check_crcs,
        consumer_max_fetch_size=settings.fetch_bytes_max,
        # What is durable is decided by the flush, never by waiting for agents.
        stream_wait_empty=False,
        # A store that is ahead of its changelog (the topic was deleted) is written anew by the
        # takeover; the check would end the worker instead, for ever.
        recovery_consistency_check=False,
        table_standby_replicas=settings.standby_replicas,
        topic_partitions=settings.partitions,
        topic_disable_leader=True,
        topic_allow_declare=True,
        web_bind=settings.host,
        web_host=settings.host,
        web_port=port,
        # Faust's own pages would serve tables and topology to anyone.
        web_tables_enabled=False,
        web_router_enabled=False,
        worker_redirect_stdouts=False,
        cython_optimizations=False,
    )


def _answer_seconds_max(settings: Settings) -> float:
    """How long an answer may take: a join waits for a rebalance; the rest died without a word."""
    return REBALANCE_SESSIONS * settings.session_timeout_ms / 1000 + ANSWER_SLACK_SECONDS


def _credentials(settings: Settings) -> Credentials | None:
    """How Faust's own clients are let in; the same as `analytics.transport.access`."""
    access = settings.broker_access
    context = ssl.create_default_context(cafile=access.ca_file) if access.tls else None
    if access.user:
        return SASLCredentials(
            username=access.user,
            password=access.password or "",
            mechanism=access.sasl,
            ssl_context=context,
        )
    return SSLCredentials(context) if context else None


def _directory(app: StreamApp, settings: Settings) -> Path:
    return Path(settings.data_dir) / app.conf.id


def _table(app: StreamApp, settings: Settings, name: str) -> SegmentTable:
    directory = _directory(app, settings)
    table = SegmentTable(app, name=name, partitions=settings.partitions, directory=directory)
    app.tables.add(table)
    return table


def _channel(app: StreamApp, topic: str) -> faust.Topic:
    # Not `app.topic`, which accepts a maximum size and drops it: the default of 4,096 would let
    # that many fetches pile up in memory.
    return faust.Topic(app, topics=[topic], schema=RecordBatchSchema(), maxsize=QUEUED_BATCHES_MAX)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    app = create_app(load_configuration(None, process_environment(), {}))
    globals()["app"] = app
    return app
