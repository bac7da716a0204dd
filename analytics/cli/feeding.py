"""Owns what `analytics send` reads and shows: blocks of a file or pipe, progress, counts."""

import asyncio
import os
import select
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import click

from analytics import clock
from analytics.cli.invocation import complain
from analytics.cli.quiet import quiet_clients
from analytics.cli.signals import stopping
from analytics.errors import TransportError
from analytics.settings import Settings
from analytics.topics import Topics
from analytics.transport.sending import Sending, Tally, send

BLOCK_BYTES = 256 << 10
#: A pipe that is silent for so long pauses: what was read of it is sent.
PAUSE_SECONDS = 0.1
DRAIN_SECONDS_MAX = 10.0
LINE_SECONDS = 2.0
BAR_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Feed:
    """The arguments of the command."""

    file: BinaryIO
    topic: str | None
    frame: int
    rate: float | None
    compression: str


def feed(settings: Settings, wanted: Feed) -> bool:
    """Send the file and print the counts; True when it was sent to its end and acknowledged."""
    quiet_clients()
    began = clock.monotonic()
    tally = Tally()
    failure, ended = asyncio.run(_send(settings, wanted, tally))
    seconds = max(clock.monotonic() - began, 1e-3)
    for refusal in tally.refusals:
        click.echo(f"rejected: {refusal}", err=True)
    if failure is not None:
        complain(failure)
    elif not ended:
        complain(f"stopped before the end of {wanted.file.name}")
    if tally.missing:
        click.echo(f"not acknowledged: {tally.missing:,}", err=True)
    click.echo(
        f"acknowledged {tally.acknowledged:,}, rejected {tally.rejected:,} events "
        f"in {seconds:.1f} s ({tally.acknowledged / seconds:,.0f} events/s)"
    )
    return failure is None and ended and tally.acknowledged == tally.read


async def _send(
    settings: Settings, wanted: Feed, tally: Tally
) -> tuple[TransportError | None, bool]:
    """Why it failed, if it did, and whether the source was read to its end."""
    sending = Sending(
        wanted.topic or Topics(settings.topic_prefix).events,
        wanted.frame,
        wanted.rate,
        None if wanted.compression == "none" else wanted.compression,
    )
    descriptor = wanted.file.fileno()
    status = os.fstat(descriptor)
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    with stopping() as stop, _progress(tally, size):
        blocks = read_blocks(descriptor, stop, waits=size is None)
        sender = asyncio.ensure_future(send(settings, blocks, sending, tally, stop))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({sender, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not sender.done():
            await asyncio.wait({sender}, timeout=DRAIN_SECONDS_MAX)
            sender.cancel()
        # An endless pipe has no end to miss: there it counts that all that was read is safe.
        ended = size is None or not stop.is_set()
        try:
            await sender
        except asyncio.CancelledError:
            return None, False
        except TransportError as error:
            return error, ended
    return None, ended


async def read_blocks(descriptor: int, stop: asyncio.Event, *, waits: bool) -> AsyncIterator[bytes]:
    """The blocks of a file, as they come; an empty one each time that a source which `waits` does.

    Reads the descriptor itself: a thread that hangs in a buffered read cannot be left at the end.
    """
    while not stop.is_set():
        if waits and not await asyncio.to_thread(_readable, descriptor):
            yield b""
            continue
        block = os.read(descriptor, BLOCK_BYTES)
        if not block:
            return
        yield block


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], PAUSE_SECONDS)[0])


@contextmanager
def _progress(tally: Tally, size: int | None) -> Iterator[None]:
    """Show progress on standard error: a bar on a terminal, a line now and then elsewhere."""
    shower = asyncio.ensure_future(
        _show_bar(tally, size) if sys.stderr.isatty() else _show_lines(tally)
    )
    try:
        yield
    finally:
        shower.cancel()


async def _show_lines(tally: Tally) -> None:
    while True:
        await asyncio.sleep(LINE_SECONDS)
        click.echo(f"acknowledged {tally.acknowledged:,} of {tally.read:,} read", err=True)


async def _show_bar(tally: Tally, size: int | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%" if size else ""),
        TextColumn("{task.fields[acknowledged]:,} events, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    began = clock.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=size, acknowledged=0, rate=0.0)
        while True:
            rate = tally.acknowledged / max(clock.monotonic() - began, 1e-3)
            bar.update(task, completed=tally.read_bytes, acknowledged=tally.acknowledged, rate=rate)
            await asyncio.sleep(BAR_SECONDS)
