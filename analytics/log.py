"""Sets up logging for a process: key-value lines on standard error, one an event."""

import logging
import sys

import structlog

#: Clients that log as errors what they then retry by themselves: a topic or a coordinator that is
#: not there yet. What does fail reaches us as an exception.
NOISY = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.client",
    "aiokafka.consumer.group_coordinator",
    # Prints a traceback of whatever ends the worker, which `analytics.worker` reports.
    "faust.worker",
)


def configure_logging(level: int = logging.INFO) -> None:
    """Log ours at ``level`` and libraries at WARNING; for people on a terminal, JSON elsewhere."""
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
