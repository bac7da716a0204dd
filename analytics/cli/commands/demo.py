"""The command `analytics demo`."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analytics.cli.invocation import Invocation

if TYPE_CHECKING:
    from analytics.demo.stage import Plan


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), default=8080, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=5000, show_default=True,
    help="Events a second.",
)  # fmt: skip
@click.option("--duration", type=click.FloatRange(0, min_open=True), help="Seconds until the end.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False),
    help="Where logs and state are kept.  [default: removed at the end]",
)  # fmt: skip
@click.pass_obj
def demo(
    invocation: Invocation, port: int, rate: float, duration: float | None, data_dir: Path | None
) -> None:
    """Run everything on this machine, on sample events.

    Starts a broker that speaks Kafka's protocol and a worker, replays flights as live events and
    shows a live table. Ctrl-C ends all of it and leaves nothing behind.

    \b
    Example:  analytics demo --rate 2000 --duration 60
    """
    from analytics.cli.quiet import quiet_clients
    from analytics.demo.stage import SAMPLE_CONFIG, Plan
    from analytics.settings import CONFIG_VARIABLE

    chosen = invocation.config_dir or invocation.environ.get(CONFIG_VARIABLE) or SAMPLE_CONFIG
    quiet_clients(logging.ERROR)
    plan = Plan(Path(chosen).resolve(), invocation.environ, port, rate, data_dir)
    asyncio.run(_perform(plan, duration))


async def _perform(plan: "Plan", duration: float | None) -> None:
    from analytics.cli.screen import screen
    from analytics.cli.signals import stopping
    from analytics.demo.stage import perform

    with stopping(after_seconds=duration) as stop, screen() as shown:
        await perform(plan, shown, stop)
