"""Runs one stream worker in this process, from start to a clean end."""

import faust
import structlog
import uvloop

from analytics.app import create_app
from analytics.configuration import Configuration
from analytics.log import configure_logging

log = structlog.get_logger(__name__)


def run(configuration: Configuration) -> int:
    """Run until SIGINT or SIGTERM, or until something breaks; returns the exit code.

    0 after a clean stop, 1 when the worker crashed: its supervisor should start it again, and it
    takes up where its last flush left it.
    """
    configure_logging()
    loop = uvloop.new_event_loop()
    app = create_app(configuration)
    # Faust's own set-up would draw a spinner and set every library to DEBUG to feed it.
    worker = faust.Worker(app, override_logging=False, quiet=True, loop=loop)
    worker.spinner = None
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        log.error("the worker crashed; start it again", error=str(error), kind=type(error).__name__)
        return 1
