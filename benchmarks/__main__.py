"""The command line of the benchmarks: `python -m benchmarks --help`."""

import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from analytics import clock
from benchmarks import events, freshness, pipeline, report
from benchmarks.core import dedup
from benchmarks.machine import machine, versions
from benchmarks.results import Figures, Result, WrongResult, save, show
from benchmarks.rivals import catalogue

Measured = tuple[list[Figures], list[Figures]]

_json = click.option(
    "--json", "file", type=click.Path(path_type=Path), help="Write the result there as well."
)
_seed = click.option("--seed", default=42, show_default=True, help="Of the generated events.")


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
@_seed
@_json
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
    _measure(
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
@_seed
@_json
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
    _measure("freshness", parameters, file, lambda directory: freshness.run(plan, directory))


@main.command("dedup")
@click.option("--events", default=100_000, show_default=True, help="Events for each limit.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@_seed
@_json
def dedup_command(file: Path | None, **options: Any) -> None:
    """CPU per event, memory, changelog and recovery with and without the ids of `dedup_ids`."""
    plan = dedup.Plan(**options)
    parameters = {
        "events": f"{plan.events:,}",
        "bytes an event": f"{events.EVENT_BYTES_MIN} to {events.EVENT_BYTES_MAX}",
        "repeats": str(plan.repeats),
        "seed": str(plan.seed),
    }
    _measure("dedup", parameters, file, lambda directory: dedup.run(plan, directory))


@main.command("report")
def report_command() -> None:
    """Write docs/benchmarks.md from the results kept in benchmarks/results."""
    report.write()


def _measure(
    name: str,
    parameters: dict[str, str],
    file: Path | None,
    run: Callable[[Path], Measured],
    *,
    also: Mapping[str, str] = MappingProxyType({}),
) -> None:
    described, started_ms = machine(), clock.now_ms()
    with tempfile.TemporaryDirectory(prefix=f"benchmark-{name}-") as directory:
        try:
            figures, profile = run(Path(directory))
        except WrongResult as error:
            raise click.ClickException(f"wrong result, so no figure: {error}") from error
    result = Result(
        benchmark=name,
        command=_command(),
        started=events.rfc3339(started_ms),
        machine=described,
        versions={**versions(), **also},
        parameters=parameters,
        figures=figures,
        profile=profile,
    )
    show(result)
    if file is not None:
        save(result, file)


def _command() -> str:
    """What was typed, without the name of a file of this machine."""
    arguments = sys.argv[1:]
    if "--json" in arguments:
        at = arguments.index("--json")
        del arguments[at : at + 2]
    return shlex.join(["python", "-m", "benchmarks", *arguments])


if __name__ == "__main__":
    main()
