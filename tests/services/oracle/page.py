"""Writes the tables of `docs/reliability.md` from reports: `python -m tests.services.oracle.page`.

A table stands between `<!-- NAME -->` and `<!-- end -->`; its rows are the lines of
`tests/faults/results/NAME.jsonl`, in order, or for `points` the points to crash at. Everything else
on the page is written by people.
"""

import json
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from analytics.process.crash import POINTS

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "tests" / "faults" / "results"

HEAD = (
    "| fault | times | events | lost | doubled | answers while it happened | wrong | "
    "seconds to fresh: p50, max | seed |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)
TABLE = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(reports: Iterable[Mapping[str, Any]]) -> str:
    """Markdown of reports, a line each."""
    return "\n".join((*HEAD, *(_row(report) for report in reports))) + "\n"


def _row(report: Mapping[str, Any]) -> str:
    fresh = report["fresh_seconds"]
    times = f"{statistics.median(fresh):.1f}, {max(fresh):.1f}" if fresh else ""
    figures = "; ".join(f"{name} {value}" for name, value in report["figures"].items())
    cells = (
        report["fault"] + (f" ({figures})" if figures else ""),
        f"{report['fired']:,}",
        f"{report['acked']:,}",
        report["lost"],
        report["doubled"],
        f"{report['live_answers']:,}",
        report["live_excess"] + report["live_early"],
        times,
        report["seed"],
    )
    return f"| {' | '.join(map(str, cells))} |"


def reports(name: str) -> Iterator[Mapping[str, Any]]:
    """The reports of a run that was kept."""
    path = RESULTS / f"{name}.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        yield json.loads(line)


def points() -> str:
    """Markdown of the points to crash at."""
    rows = (f"| `{point}` | {told} |" for point, told in POINTS.items())
    return "\n".join(("| point | what is true there |", "| --- | --- |", *rows)) + "\n"


def rendered(page: str) -> str:
    """The page with its tables as the results have them."""

    def filled(found: re.Match[str]) -> str:
        name = found[2]
        return found[1] + (points() if name == "points" else table(reports(name))) + found[3]

    return TABLE.sub(filled, page)


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
