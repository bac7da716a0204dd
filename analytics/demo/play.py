"""Owns what happens on the demo's stage: topics, replay, live table; must not start a process."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from analytics import clock
from analytics.cli.screen import Screen
from analytics.cli.tables import of_reply, time_text
from analytics.client import Client, Reply
from analytics.configuration import Configuration
from analytics.demo.board import LAST, board_of
from analytics.demo.broker import accepts
from analytics.demo.replay import Progress, replay
from analytics.demo.stage import DemoError, Plan
from analytics.errors import TransportError
from analytics.process.child import ChildProcess
from analytics.topics import Topics
from analytics.transport.admin import create_topics

if TYPE_CHECKING:
    from analytics.demo.flights import LiveFlights

#: Where a query without a URL asks first, and then.
QUERY_PORTS: Final = (6066, 8080)

READY_SECONDS_MAX: Final = 30.0
ANSWER_SECONDS_MAX: Final = 2.0
FLUSH_SECONDS_MAX: Final = 2.0
POLL_SECONDS: Final = 0.1
REFRESH_SECONDS: Final = 1.0


class Play:
    """Sends the flights to the broker and shows what the worker makes of them."""

    def __init__(
        self, plan: Plan, configuration: Configuration, worker: ChildProcess, screen: Screen
    ) -> None:
        self._plan = plan
        self._settings = configuration.settings
        self._board = board_of(configuration.catalog, str(plan.config_dir))
        self._worker = worker
        self._screen = screen
        self._progress = Progress()

    async def run(self, stop: asyncio.Event) -> None:
        """Play until `stop` is set. Raises TransportError or DemoError when a part fails."""
        # Long before the worker asks for them: it has more to import than we had.
        await create_topics(self._settings)
        watching = asyncio.create_task(self._watch(stop))
        replaying = asyncio.create_task(self._replay(stop))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({watching, replaying, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await asyncio.wait({watching, replaying}, timeout=FLUSH_SECONDS_MAX)
        # The watch first: a worker that died says more than the sender's trouble.
        for task in (watching, replaying):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _replay(self, stop: asyncio.Event) -> None:
        flights = await asyncio.to_thread(_flights)
        topic = Topics(self._settings.topic_prefix).events
        await replay(self._settings, topic, flights, self._plan.rate, stop, self._progress)

    async def _watch(self, stop: asyncio.Event) -> None:
        async with Client(self._plan.url, timeout_seconds=ANSWER_SECONDS_MAX) as client:
            await self._wait_until_ready(client, stop)
            self._screen.say(f"worker  {self._plan.url}")
            self._screen.say(f"try     {self._board.example(_url_needed(self._plan))}")
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
            f"{self._progress.acknowledged:,} events sent, {self._plan.rate:,.0f}/s"
        )
        self._screen.show(title, of_reply(reply, timestamps=False))


def _flights() -> "LiveFlights":
    # In a thread, imports included: together they take a second.
    from analytics.demo.flights import LiveFlights, load

    return LiveFlights(load(), seed=clock.now_ms())


def _url_needed(plan: Plan) -> str | None:
    """The worker's URL, unless a query finds the demo without one."""
    first, second = QUERY_PORTS
    found = plan.port == first or (plan.port == second and not accepts(first))
    return None if found else plan.url


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
