"""The command `recovery`."""

from pathlib import Path

import click

from benchmarks.commands.measuring import json_option, measure, seed_option, series_option
from benchmarks.live import recovery


@click.command("recovery")
@series_option(recovery.SERIES)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@seed_option
@json_option
def recovery_command(file: Path | None, series: tuple[int, ...], repeats: int, seed: int) -> None:
    """Time of a worker without its disk to read its state again."""
    plan = recovery.Plan(series, repeats, seed)
    parameters = {"repeats": str(repeats), "seed": str(seed)}
    measure("recovery", parameters, file, lambda directory: recovery.run(plan, directory))
