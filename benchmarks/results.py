"""Owns the shape of a benchmark's result: on disk as JSON, on a terminal as a table."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.spread import Spread

RESULTS = Path(__file__).with_name("results")
"""Where the results that the documentation is written from are kept."""


PART = "part of the worker"
"""What the rows of a profile are."""


class WrongResult(Exception):
    """A candidate's answer is not the truth, so there is no figure."""


class Figures(msgspec.Struct, frozen=True):
    """What was measured of one candidate: by the name of a measure, with unit, a value a repeat."""

    candidate: str
    measures: dict[str, list[float]]


class Result(msgspec.Struct, frozen=True):
    """One run of a benchmark, with all that is needed to judge or repeat it."""

    benchmark: str
    command: str
    started: str
    machine: dict[str, str]
    versions: dict[str, str]
    parameters: dict[str, str]
    figures: list[Figures]
    profile: list[Figures] = []
    """Where the CPU time of a candidate went, when that was asked for; measured in runs apart."""


def gather(runs: Sequence[tuple[str, Mapping[str, float]]]) -> list[Figures]:
    """The runs of each candidate together, candidates in the order in which they first came."""
    gathered: dict[str, dict[str, list[float]]] = {}
    for candidate, measures in runs:
        of_candidate = gathered.setdefault(candidate, {})
        for name, value in measures.items():
            of_candidate.setdefault(name, []).append(value)
    return [Figures(candidate, measures) for candidate, measures in gathered.items()]


def save(result: Result, file: Path) -> None:
    """Write a result as JSON that people can read and compare."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")


def load(file: Path) -> Result:
    """Read what `save` wrote; msgspec.DecodeError for anything else."""
    return msgspec.json.decode(file.read_bytes(), type=Result)


def show(result: Result) -> None:
    """Print the tables of a result."""
    console = Console()
    console.print(_table(result.benchmark, cells(result.figures)))
    if result.profile:
        title = f"{result.benchmark}: where the CPU time goes"
        console.print(_table(title, cells(result.profile, PART)))


def cells(figures: Sequence[Figures], of: str = "candidate") -> list[list[str]]:
    """A table of figures: its header, then a row a candidate, empty where nothing was measured.

    `of` says what the rows are. With more measures than rows the table lies on its side.
    """
    names = list(dict.fromkeys(name for each in figures for name in each.measures))
    rows = [
        [
            each.candidate,
            *(str(Spread.of(values)) if (values := each.measures.get(n)) else "" for n in names),
        ]
        for each in figures
    ]
    table = [[of, *names], *rows]
    if len(names) > len(figures):
        table[0][0] = "measure"
        return [list(row) for row in zip(*table, strict=True)]
    return table


def tell(message: str) -> None:
    """Say on standard error what is going on."""
    print(message, file=sys.stderr, flush=True)


def _table(title: str, lines: Sequence[Sequence[str]]) -> Table:
    header, *rows = lines
    table = Table(title=title, caption="median (least to greatest) over the repeats")
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table
