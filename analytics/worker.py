"""Runs one stream worker in this process, from start to a clean end."""

import asyncio
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import faust
import structlog
import uvloop

from analytics import clock
from analytics.app import create_app
from analytics.configuration import Configuration
from analytics.errors import AnalyticsError
from analytics.log import configure_logging
from analytics.process import crash
from analytics.settings import process_environment

log = structlog.get_logger(__name__)

THREAD_NAMES = "analytics-worker"
#: New containers that may pile up before Python looks for cycles among them. Every record is one
#: while its fetch is worked on, and none is part of a cycle: with Python's 700, looking at all of a
#: fetch over and over costs a third of fetching it.
CONTAINERS_MAX = 100_000

#: How long threads may take to end once the worker has; a write to disk may be under way.
THREADS_SECONDS_MAX = 5.0


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
    gc.freeze()
    gc.set_threshold(CONTAINERS_MAX)
    executor = ThreadPoolExecutor(thread_name_prefix=THREAD_NAMES)
    worker.loop.set_default_executor(executor)
    code = 0
    try:
        _run(worker)
    except AnalyticsError as error:
        log.error("the worker ended", reason=str(error))
        code = 1
    except Exception as error:
        # The last stop of what nobody expected: say all there is to say, and leave.
        log.error("the worker crashed; start it again", exc_info=error)
        code = 1
    executor.shutdown(wait=False)
    _leave_behind_what_hangs()
    return code


def _leave_behind_what_hangs() -> None:
    """End the process at once if a thread is stuck, in a disk for instance: Python would wait."""
    deadline = clock.monotonic() + THREADS_SECONDS_MAX
    for thread in threading.enumerate():
        if thread.name.startswith(THREAD_NAMES):
            thread.join(max(0.0, deadline - clock.monotonic()))
            if thread.is_alive():
                log.error("left a thread behind that hangs", thread=thread.name)
                os._exit(1)


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
