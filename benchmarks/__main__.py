"""The command line of the benchmarks: `python -m benchmarks --help`."""

from pathlib import Path
from typing import Any

import click

from benchmarks import events, freshness, pipeline, report
from benchmarks.commands.measuring import json_option, measure, seed_option
from benchmarks.commands.query import query_command
from benchmarks.commands.recovery import recovery_command
from benchmarks.commands.sweeps import SWEEPS
from benchmarks.core import dedup
from benchmarks.rivals import catalogue


def _selected(
    context: click.Context, option: click.Parameter, names: str | None
) -> tuple[str, ...]:
    try:
        return pipeline.selected(names)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.group()
def main() -> None:
    """Measure the product; but for `dedup` against a real Kafka.

    That needs Java and, the first time, Maven.
    """


@main.command("pipeline")
@click.option("--events", default=400_000, show_default=True, help="Events for most candidates.")
@click.option("--long-events", default=2_000_000, show_default=True, help="For slow starters.")
@click.option("--stock-events", default=20_000, show_default=True, help="Events for the slow ones.")
@click.option("--framing", "framings", multiple=True, type=click.IntRange(1), default=(1, 100))
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--compression", type=click.Choice(("none", "lz4")), default="none")
@click.option(
    "--only",
    "names",
    callback=_selected,
    metavar="NAME,NAME",
    help=f"Leave the others out. Of {', '.join(pipeline.CANDIDATES)}.",
)
@click.option("--profile", is_flag=True, help="Say where the CPU time of `ours` goes, in own runs.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of `ours`.")
@seed_option
@json_option
def pipeline_command(
    file: Path | None, names: tuple[str, ...], settings: tuple[str, ...], **options: Any
) -> None:
    """CPU per event and events/s, from a full topic to the full answer."""
    able, left_out = pipeline.install(names)
    settings_given = dict(one.split("=", 1) for one in settings)
    plan = pipeline.Plan(names=able, settings=settings_given, **options)
    parameters = {
        "events": ", ".join(f"{plan.events_of(name):,} ({name})" for name in able),
        "bytes an event": f"{events.EVENT_BYTES_MIN} to {events.EVENT_BYTES_MAX}",
        "compression": plan.compression,
        "repeats": str(plan.repeats),
        "seed": str(plan.seed),
        **{f"left out {name}:": reason for name, reason in left_out.items()},
    }
    measure(
        "pipeline",
        parameters,
        file,
        lambda directory: pipeline.run(plan, directory),
        also=catalogue.versions(able),
    )


@main.command("freshness")
@click.option("--rate", type=click.IntRange(100), default=20_000, show_default=True)
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True)
@click.option("--framing", type=click.IntRange(1), default=100, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--profile", is_flag=True, help="Say where the worker's CPU time goes, in a run more."
)
@seed_option
@json_option
def freshness_command(file: Path | None, **options: Any) -> None:
    """Time from an event's timestamp to its being visible in a query, under a steady load."""
    plan = freshness.Plan(**options)
    parameters = {
        "rate": f"{plan.rate:,} events/s",
        "seconds": str(plan.seconds),
        "events a record": str(plan.framing),
        "repeats": str(plan.repeats),
        "seed": str(plan.seed),
    }
    measure("freshness", parameters, file, lambda directory: freshness.run(plan, directory))


@main.command("dedup")
@click.option("--events", default=100_000, show_default=True, help="Events for each limit.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@seed_option
@json_option
def dedup_command(file: Path | None, **options: Any) -> None:
    """CPU per event, memory, changelog and recovery with and without the ids of `dedup_ids`."""
    plan = dedup.Plan(**options)
    parameters = {
        "events": f"{plan.events:,}",
        "bytes an event": f"{events.EVENT_BYTES_MIN} to {events.EVENT_BYTES_MAX}",
        "repeats": str(plan.repeats),
        "seed": str(plan.seed),
    }
    measure("dedup", parameters, file, lambda directory: dedup.run(plan, directory))


@main.command("report")
def report_command() -> None:
    """Write docs/benchmarks.md from the results kept in benchmarks/results."""
    report.write()


for command in (*SWEEPS, query_command, recovery_command):
    main.add_command(command)


if __name__ == "__main__":
    main()
