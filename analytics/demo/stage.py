"""Owns the demo from start to end: broker, worker, replay, live table; all of it ends with it."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analytics import clock
from analytics.cli.screen import Screen
from analytics.cli.tables import of_reply, time_text
from analytics.client import Client, Reply
from analytics.configuration import Configuration, load_configuration
from analytics.demo.board import LAST, Board, board_of
from analytics.demo.broker import EmbeddedBroker, EmbeddedBrokerError, accepts, free_port
from analytics.demo.child import ChildProcess
from analytics.demo.flights import LiveFlights, load
from analytics.demo.replay import Progress, replay
from analytics.errors import AnalyticsError, TransportError
from analytics.settings import PREFIX
from analytics.topics import Topics
from analytics.transport.admin import create_topics

SAMPLE_CONFIG: Final = Path(__file__).parent / "config"
DEFAULT_PORT: Final = 8080
WORKER_PORT: Final = 6066

READY_SECONDS_MAX: Final = 30.0
ANSWER_SECONDS_MAX: Final = 2.0
POLL_SECONDS: Final = 0.1
REFRESH_SECONDS: Final = 1.0
# Together below ten seconds, with what the broker takes.
FLUSH_SECONDS_MAX: Final = 2.0
WORKER_STOP_SECONDS_MAX: Final = 4.0

#: Made anew each time: the broker forgets its offsets, so a worker must not remember them either.
WORKER_FOLDER: Final = "demo-worker"


class DemoError(AnalyticsError):
    """A part of the demo did not start or ended by itself; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo is asked for; `data_dir` None means a temporary one, `environ` is ours."""

    config_dir: Path
    environ: Mapping[str, str]
    port: int
    rate: float
    data_dir: Path | None


async def perform(plan: Plan, screen: Screen, stop: asyncio.Event) -> None:
    """Run everything until `stop` is set, then end it, within ten seconds.

    Call it in the main thread, which the child processes are tied to. Raises DemoError when a part
    fails; whatever the reason for its end, no process, port or temporary file is left behind.
    """
    with (
        _parts_named(plan),
        _directory(plan.data_dir) as directory,
        EmbeddedBroker(log_path=directory / "broker.log") as broker,
    ):
        environ = _environment(plan.environ, broker)
        configuration = load_configuration(plan.config_dir, environ, {})
        board = board_of(configuration.catalog, str(plan.config_dir))
        await create_topics(configuration.settings)
        with _worker(plan, directory, environ) as worker:
            screen.say(f"broker  kafka://{broker.bootstrap}")
            await _play(plan, configuration, Watch(board, worker, screen, plan), stop)


async def _play(
    plan: Plan, configuration: Configuration, watch: "Watch", stop: asyncio.Event
) -> None:
    """Replay and watch until `stop` is set or one of them fails."""
    replaying = asyncio.create_task(_replay(plan, configuration, watch.progress, stop))
    watching = asyncio.create_task(watch.run(stop))
    stopped = asyncio.create_task(stop.wait())
    tasks = {replaying, watching}
    await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.wait(tasks, timeout=FLUSH_SECONDS_MAX)
    for task in tasks:
        task.cancel()
    # The watch first: a worker or broker that died explains why sending failed.
    for task in (watching, replaying):
        with suppress(asyncio.CancelledError):
            await task


async def _replay(
    plan: Plan, configuration: Configuration, progress: Progress, stop: asyncio.Event
) -> None:
    flights = LiveFlights(await asyncio.to_thread(load), seed=clock.now_ms())
    settings = configuration.settings
    topic = Topics(settings.topic_prefix).events
    await replay(settings, topic, flights, plan.rate, stop, progress)


class Watch:
    """Waits for the worker, says where everything is, then shows the live table."""

    def __init__(self, board: Board, worker: ChildProcess, screen: Screen, plan: Plan) -> None:
        self._board = board
        self._worker = worker
        self._screen = screen
        self._url = f"http://127.0.0.1:{plan.port}"
        self._rate = plan.rate
        # Without a URL a query asks the worker's port first, then the demo's.
        found = plan.port == DEFAULT_PORT and not accepts(WORKER_PORT)
        self._example = board.example(None if found else self._url)
        self.progress = Progress()

    async def run(self, stop: asyncio.Event) -> None:
        """Show until `stop` is set; raises DemoError when the worker fails."""
        async with Client(self._url, timeout_seconds=ANSWER_SECONDS_MAX) as client:
            await self._wait_until_ready(client, stop)
            self._screen.say(f"worker  {self._url}")
            self._screen.say(f"try     {self._example}")
            while not stop.is_set():
                reply = await self._ask(client)
                if reply is not None and reply.rows:
                    self._show(reply)
                    await _pause(stop, REFRESH_SECONDS)
                else:
                    await _pause(stop, POLL_SECONDS)

    async def _wait_until_ready(self, client: Client, stop: asyncio.Event) -> None:
        deadline = clock.monotonic() + READY_SECONDS_MAX
        reasons = ["it does not answer"]
        while not stop.is_set():
            self._check_worker()
            with suppress(TransportError):
                health = await client.health()
                if health.ready:
                    return
                reasons = health.reasons
            if clock.monotonic() > deadline:
                raise DemoError(
                    f"the worker was not ready after {READY_SECONDS_MAX:g} s "
                    f"({'; '.join(reasons)}); its log ends with:\n{self._worker.log_tail()}"
                )
            await _pause(stop, POLL_SECONDS)

    async def _ask(self, client: Client) -> Reply | None:
        self._check_worker()
        try:
            return await client.query(self._board.document())
        except TransportError:
            return None  # a rebalance, or a machine too busy to answer in time: ask again

    def _check_worker(self) -> None:
        code = self._worker.exit_code
        if code is not None:
            raise DemoError(
                f"the worker ended with code {code}; its log ends with:\n{self._worker.log_tail()}"
            )

    def _show(self, reply: Reply) -> None:
        now = time_text(clock.now_ms() // 1000 * 1000)
        title = (
            f"{now} {self._board.metric}, last {LAST}; "
            f"{self.progress.acknowledged:,} events sent, {self._rate:,.0f}/s"
        )
        self._screen.show(title, of_reply(reply, timestamps=False))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


@contextmanager
def _worker(plan: Plan, directory: Path, environ: Mapping[str, str]) -> Iterator[ChildProcess]:
    state = directory / WORKER_FOLDER
    shutil.rmtree(state, ignore_errors=True)
    free_port(plan.port)
    command = [sys.executable, "-m", "analytics", "--config", str(plan.config_dir), "worker"]
    command += ["--port", str(plan.port), "--data-dir", str(state)]
    child = ChildProcess(command, directory / "worker.log", environment=environ)
    child.start()
    try:
        yield child
    finally:
        child.stop(grace_seconds=WORKER_STOP_SECONDS_MAX)


def _environment(environ: Mapping[str, str], broker: EmbeddedBroker) -> Mapping[str, str]:
    """The environment of the demo's processes: ours, but nothing that leads to real services."""
    foreign = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    return foreign | {f"{PREFIX}BROKER": f"kafka://{broker.bootstrap}"}


@contextmanager
def _directory(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="analytics-demo-") as name:
        yield Path(name)


@contextmanager
def _parts_named(plan: Plan) -> Iterator[None]:
    """Turn what the parts raise into errors that the command line reports in a line."""
    try:
        yield
    except EmbeddedBrokerError as error:
        taken = str(error).startswith(f"port {plan.port} ")
        hint = "; choose another one with --port" if taken else ""
        raise DemoError(f"{error}{hint}") from error
    except OSError as error:
        raise DemoError(f"the demo cannot use its directory: {error}") from error
