"""Owns what every command does around a measurement; it must not know what is measured."""

import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from analytics import clock
from benchmarks import events
from benchmarks.machine import machine, versions
from benchmarks.results import Figures, Result, WrongResult, save, show

Measured = tuple[list[Figures], list[Figures]]

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option(
    "--json", "file", type=click.Path(path_type=Path), help="Write the result there as well."
)
seed_option = click.option("--seed", default=42, show_default=True, help="Of the generated events.")


def series_option(default: Sequence[int]) -> Callable[[F], F]:
    """The points of a benchmark by the number of series."""
    return click.option(
        "--series",
        default=",".join(map(str, default)),
        callback=numbers,
        metavar="N,N",
        show_default=True,
        help="The points.",
    )


def measure(
    name: str,
    parameters: Mapping[str, str],
    file: Path | None,
    run: Callable[[Path], Measured],
    *,
    also: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run a benchmark in a folder of its own and show its result; ClickException for a wrong one.

    `also` has versions of what only this benchmark runs.
    """
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
        parameters=dict(parameters),
        figures=figures,
        profile=profile,
    )
    show(result)
    if file is not None:
        save(result, file)


def numbers(context: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    """Read a list with commas of whole numbers from 1 on; underscores are allowed in them."""
    try:
        found = tuple(int(each) for each in text.split(","))
    except ValueError as error:
        raise click.BadParameter("must be whole numbers with commas between them") from error
    if min(found) < 1 or len(set(found)) < len(found):
        raise click.BadParameter("must be different numbers from 1 on")
    return found


def _command() -> str:
    """What was typed, without the name of a file of this machine."""
    arguments = sys.argv[1:]
    if "--json" in arguments:
        at = arguments.index("--json")
        del arguments[at : at + 2]
    return shlex.join(["python", "-m", "benchmarks", *arguments])
