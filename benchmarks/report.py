"""Owns `docs/benchmarks.md`, written from the kept results alone; it must not measure anything."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import freshness, pipeline
from benchmarks.core import dedup
from benchmarks.results import PART, RESULTS, Figures, Result, cells, load

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

#: The kept results in the order of the page: file, heading, how it was measured.
SECTIONS = (
    ("pipeline", "What an event costs", pipeline.METHOD),
    ("freshness", "How fresh an answer is", freshness.METHOD),
    ("dedup", "What remembering ids costs", dedup.METHOD),
)

INTRODUCTION = """\
# Benchmarks

This page is written by `python -m benchmarks report` from the results in `benchmarks/results`; each
of them is the JSON that the command above its table wrote. `make bench ARGS='pipeline'` runs one.

How to read the figures:

- Each is a median over the repeats, with the least and the greatest in parentheses.
- The machine was shared: other programs ran on it at the same time, and Kafka, the producer and the
  reader use the same processors as what is measured. So trust CPU time more than rates and times of
  day, and ratios within a table more than any single figure.
- CPU time is that of all threads, user and system. It moves with the processor's clock and caches:
  a repeat on another machine, or on this one tomorrow, may differ by a fifth.
- A candidate's answers are checked against an independent computation before its figures count.
"""


def write() -> None:
    """Write the page. FileNotFoundError when a result was never kept."""
    PAGE.parent.mkdir(exist_ok=True)
    sections = (
        page(load(RESULTS / f"{name}.json"), heading, method) for name, heading, method in SECTIONS
    )
    PAGE.write_text("\n".join([INTRODUCTION, *sections]))


def page(result: Result, heading: str, method: str) -> str:
    """One section: the figures, how they came about, where."""
    return "\n".join(
        [
            f"## {heading}",
            "",
            f"```sh\n{result.command}\n```",
            "",
            *_table(cells(result.figures)),
            "",
            *_profile(result.profile),
            method,
            f"Measured {result.started[:10]} with {_listed(result.parameters)}.",
            "",
            f"Machine: {_listed(result.machine)}.",
            "",
            f"Versions: {_listed(result.versions)}.",
            "",
        ]
    )


def _profile(figures: list[Figures]) -> Iterator[str]:
    if figures:
        yield (
            "Where the worker's CPU time goes, in a run apart with stopwatches in it (`--profile`)."
            " The threads add up to the whole process; lines with a dash are parts of the main"
            " thread."
        )
        yield ""
        yield from _table(cells(figures, PART))
        yield ""


def _table(lines: Sequence[list[str]]) -> Iterator[str]:
    header, *rows = lines
    yield _row(header)
    yield _row(["---", *("---:" for _ in header[1:])])
    yield from map(_row, rows)


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _listed(pairs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in pairs.items())
