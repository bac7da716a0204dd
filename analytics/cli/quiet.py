"""Owns keeping libraries from writing between the lines of a command."""

import logging

from analytics.log import configure_logging

CLIENTS = ("aiokafka", "asyncio")


def quiet_clients(level: int = logging.WARNING) -> None:
    """Log ours from `level` on, and nothing of Kafka's client: what matters it raises."""
    configure_logging(level)
    for name in CLIENTS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
