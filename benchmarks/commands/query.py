"""The command `query`."""

from pathlib import Path
from typing import Any

import click

from benchmarks.candidates.paced import EVENT_BYTES
from benchmarks.commands.measuring import json_option, measure, seed_option, series_option
from benchmarks.live import query


@click.command("query")
@series_option(query.SERIES)
@click.option("--rate", type=click.IntRange(100), default=10_000, show_default=True)
@click.option(
    "--warmup",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    help="Seconds of events before the first question.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Of asking one question by one number of clients.",
)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@seed_option
@json_option
def query_command(file: Path | None, **options: Any) -> None:
    """Time of an answer by 1 and 32 clients, while events come at a steady rate."""
    plan = query.Plan(**options)
    parameters = {
        "rate": f"{plan.rate:,} events/s",
        "bytes an event": str(EVENT_BYTES),
        "seconds a question": str(plan.seconds),
        "seconds before": str(plan.warmup),
        "repeats": str(plan.repeats),
        "seed": str(plan.seed),
    }
    measure("query", parameters, file, lambda directory: query.run(plan, directory))
