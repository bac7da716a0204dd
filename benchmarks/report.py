"""Owns `docs/benchmarks.md`, written from the kept results alone; it must not measure anything."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import freshness, pipeline
from benchmarks.core import dedup
from benchmarks.live import query, recovery
from benchmarks.results import PART, RESULTS, Figures, Result, cells, load
from benchmarks.sweeps import cardinality, engine, memory, metrics, partitions, size, workers

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

#: The results in the order of the page: file, heading, how it was measured.
SECTIONS = (
    ("pipeline", "What an event costs", pipeline.METHOD),
    ("freshness", "How fresh an answer is", freshness.METHOD),
    ("query", "How long an answer takes", query.METHOD),
    ("cardinality", "What many series cost", cardinality.METHOD),
    ("metrics", "What many metrics cost", metrics.METHOD),
    ("size", "What long events cost", size.METHOD),
    ("partitions", "What partitions cost", partitions.METHOD),
    ("workers", "What several workers cost", workers.METHOD),
    ("memory", "What open windows take of memory", memory.METHOD),
    ("recovery", "How long recovery takes", recovery.METHOD),
    ("dedup", "What remembering ids costs", dedup.METHOD),
)

#: Sections that stand under what all sweeps have in common.
SWEEPS = ("cardinality", "metrics", "size", "partitions", "workers", "memory")
SWEEPS_HEADING = "Our worker by one quantity at a time"

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
    """Write the page. What was measured, but never kept, has no section."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join([INTRODUCTION, *sections(RESULTS)]))


def sections(results: Path) -> Iterator[str]:
    """The section of every result that is kept in a folder; sweeps share what leads up to them."""
    kept = [section for section in SECTIONS if _file(results, section[0]).exists()]
    first_sweep = next((name for name, *_ in kept if name in SWEEPS), None)
    for name, heading, method in kept:
        if name == first_sweep:
            yield f"## {SWEEPS_HEADING}\n\n{engine.METHOD}"
        yield page(load(_file(results, name)), heading, method)


def _file(results: Path, name: str) -> Path:
    return results / f"{name}.json"


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
