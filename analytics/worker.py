"""Runs one stream worker in this process, from start to a clean end."""

import asyncio
from contextlib import suppress

import faust
import structlog
import uvloop

from analytics.app import create_app
from analytics.configuration import Configuration
from analytics.errors import AnalyticsError
from analytics.log import configure_logging
from analytics.process import crash
from analytics.settings import process_environment

log = structlog.get_logger(__name__)


def run(configuration: Configuration) -> int:
    """Run until SIGINT or SIGTERM, or until something breaks; returns the exit code.

    0 after a clean stop, 1 when the worker ended by itself: its supervisor should start it again,
    and it takes up where its last flush left it.
    """
    configure_logging()
    crash.arm(process_environment().get(crash.VARIABLE))
    app = create_app(configuration)
    # Faust's own set-up of logging would draw a spinner and set every library to DEBUG to feed it.
    worker = faust.Worker(
        app, override_logging=False, quiet=True, loop=uvloop.new_event_loop(), debug=False
    )
    worker.spinner = None
    try:
        _run(worker)
    except AnalyticsError as error:
        log.error("the worker ended", reason=str(error))
        return 1
    except Exception as error:
        # The last stop of what nobody expected: say all there is to say, and leave.
        log.error("the worker crashed; start it again", exc_info=error)
        return 1
    return 0


def _run(worker: faust.Worker) -> None:
    """What `Worker.execute_from_commandline` does, but errors come out of it."""
    asyncio.set_event_loop(worker.loop)
    starting = asyncio.ensure_future(worker.start(), loop=worker.loop)
    worker._starting_fut = starting  # a signal during the start cancels it
    try:
        with suppress(asyncio.CancelledError):
            worker.loop.run_until_complete(starting)
    finally:
        worker.stop_and_shutdown()
