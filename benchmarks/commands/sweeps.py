"""The commands of the sweeps: each of them reads its options and names its parameters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmarks.commands.measuring import json_option, measure, numbers, seed_option
from benchmarks.sweeps import cardinality, memory, metrics, partitions, size, workers
from benchmarks.sweeps.accounts import BYTES_MIN
from benchmarks.sweeps.engine import Load, Sweep

F = TypeVar("F", bound=Callable[..., Any])


def _points(name: str, default: tuple[int, ...]) -> Callable[[F], F]:
    return click.option(
        name,
        "points",
        default=",".join(map(str, default)),
        callback=numbers,
        metavar="N,N",
        show_default=True,
        help="The points.",
    )


def _load(events: int | None) -> Callable[[F], F]:
    """The options of a load; without events the benchmark itself says how many."""

    def decorate(function: F) -> F:
        function = json_option(seed_option(function))
        repeats = click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
        framing = click.option(
            "--framing",
            type=click.IntRange(1),
            default=100,
            show_default=True,
            help="Events a record.",
        )
        function = framing(repeats(function))
        if events is None:
            return function
        option = click.option(
            "--events",
            type=click.IntRange(1),
            default=events,
            show_default=True,
            help="For every point.",
        )
        return option(function)

    return decorate


_bytes = click.option(
    "--bytes",
    "event_bytes",
    type=click.IntRange(BYTES_MIN),
    default=950,
    show_default=True,
    help="Of an event.",
)


@click.command("cardinality")
@_points("--series", cardinality.SERIES)
@click.option("--spread", is_flag=True, help="Let an account's events be in any partition.")
@_bytes
@_load(2_000_000)
def cardinality_command(
    file: Path | None, points: tuple[int, ...], event_bytes: int, spread: bool, **load: int
) -> None:
    """CPU per event of the worker by the number of series."""
    sweep = cardinality.sweep(Load(**load), points, event_bytes, spread=spread)
    _run("cardinality", sweep, Load(**load), file, {"bytes an event": f"{event_bytes:,}"})


@click.command("metrics")
@_points("--metrics", metrics.COUNTS)
@_load(400_000)
def metrics_command(file: Path | None, points: tuple[int, ...], **load: int) -> None:
    """CPU per event of the worker by the number of metrics."""
    try:
        sweep = metrics.sweep(Load(**load), points)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _run("metrics", sweep, Load(**load), file)


@click.command("size")
@_points("--sizes", size.SIZES)
@_load(400_000)
def size_command(file: Path | None, points: tuple[int, ...], **load: int) -> None:
    """CPU per event of the worker by the bytes of an event."""
    try:
        sweep = size.sweep(Load(**load), points)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _run("size", sweep, Load(**load), file, {"series": f"{size.SERIES:,}"})


@click.command("partitions")
@_points("--partitions", partitions.COUNTS)
@_load(400_000)
def partitions_command(file: Path | None, points: tuple[int, ...], **load: int) -> None:
    """CPU per event of the worker by the partitions of the topic."""
    _run("partitions", partitions.sweep(Load(**load), points), Load(**load), file)


@click.command("workers")
@_points("--workers", workers.COUNTS)
@_load(400_000)
def workers_command(file: Path | None, points: tuple[int, ...], **load: int) -> None:
    """CPU per event of all workers by their number, over eight partitions."""
    _run("workers", workers.sweep(Load(**load), points), Load(**load), file)


@click.command("memory")
@click.option("--series", type=click.IntRange(memory.FEW + 1), default=1_000_000, show_default=True)
@_load(None)
def memory_command(file: Path | None, series: int, **load: int) -> None:
    """Memory of the worker with many open series-windows."""
    of_all = Load(events=2 * series, **load)
    _run("memory", memory.sweep(of_all, series), of_all, file)


SWEEPS = (
    cardinality_command,
    metrics_command,
    size_command,
    partitions_command,
    workers_command,
    memory_command,
)


def _run(
    name: str, sweep: Sweep, load: Load, file: Path | None, more: dict[str, str] | None = None
) -> None:
    parameters = {
        "events": f"{load.events:,}",
        **(more or {}),
        "events a record": str(load.framing),
        "repeats": str(load.repeats),
        "seed": str(load.seed),
    }
    measure(name, parameters, file, sweep.run)
