"""Owns what the product's modules are given in place of time, threads, chance and size limits."""

import asyncio
import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import structlog

from agents import aggregate
from analytics import clock
from analytics.core import dedup, delivery
from analytics.core.events.codec import EventCodec
from tables import partition, segments
from tests.property.pipeline import stand_ins
from tests.property.pipeline.kafka import Clock


@contextmanager
def simulated() -> Iterator[None]:
    """Everything small, so that flushes need several records, and nothing left to chance."""
    changes: list[tuple[object, str, object]] = [
        (clock, "now_ms", lambda: Clock.current.now_ms()),
        (clock, "monotonic", lambda: Clock.current.monotonic()),
        (asyncio, "to_thread", stand_ins.to_thread),
        (asyncio, "gather", stand_ins.gather),
        (partition, "os", SimpleNamespace(urandom=lambda n: Clock.current.urandom(n))),
        # It keeps no state, and building one takes longer than a step.
        (aggregate, "EventCodec", functools.cache(EventCodec)),
        (aggregate, "CHUNK_BYTES", 300),
        (delivery, "DELIVERY_BYTES_MAX", 300),
        (segments, "SEGMENT_BYTES_MAX", 100),
        (segments, "REWRITE_SEGMENTS", 4),
        (dedup, "CHUNK_IDS", 4),
    ]
    with ExitStack() as stack:
        for target, name, value in changes:
            stack.enter_context(patch.object(target, name, value))
        structlog.configure(processors=[_drop])
        stack.callback(structlog.reset_defaults)
        yield


def _drop(*_: object) -> dict[str, object]:
    raise structlog.DropEvent
