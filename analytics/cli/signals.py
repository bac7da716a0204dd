"""Owns how a command that runs until it is told to stop is told; must not stop anything itself."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping(*, after_seconds: float | None = None) -> Iterator[asyncio.Event]:
    """An event set by Ctrl-C, by SIGTERM, or after a time; call inside a running loop."""
    stop = asyncio.Event()
    with on_signal(stop.set):
        timer = None
        if after_seconds is not None:
            timer = asyncio.get_running_loop().call_later(after_seconds, stop.set)
        try:
            yield stop
        finally:
            if timer is not None:
                timer.cancel()


@contextmanager
def on_signal(act: Callable[[], object]) -> Iterator[None]:
    """Call `act` in the loop at each Ctrl-C or SIGTERM, instead of ending the process."""
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
