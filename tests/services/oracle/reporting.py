"""Owns what is told of a test with faults: one line for people, one of JSON for programs."""

import dataclasses
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Reporting:
    """Where reports go, and the lines that were written in this process."""

    path: Path | None = None
    lines: list[str] = field(default_factory=list)


#: One for the process: tests do not say where reports go, the command line does.
REPORTING = Reporting()


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one test; the names are those of the JSON."""

    fault: str
    seed: int
    fired: int
    events: int
    acked: int
    counted: int
    late: int
    duplicates: int
    dead_letters: int
    lost: int
    doubled: int
    live_answers: int
    live_claims: int
    live_excess: int
    live_early: int
    fresh_seconds: list[float]
    took_seconds: float
    #: What else the test has measured, by name.
    figures: Mapping[str, object] = field(default_factory=dict)

    def line(self) -> str:
        """All of it for people."""
        shown = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in ("fault", "fresh_seconds", "took_seconds", "figures")
        }
        shown |= self.figures
        fresh = self.fresh_seconds
        times = f"{statistics.median(fresh):.1f}/{max(fresh):.1f}" if fresh else "-"
        numbers = " ".join(f"{name}={value}" for name, value in shown.items())
        return f"{self.fault}: {numbers} fresh_p50/max={times}s took={self.took_seconds:.0f}s"

    def write(self) -> None:
        """Append it to the file, and keep its line for the end of the run."""
        REPORTING.lines.append(self.line())
        if REPORTING.path is not None:
            REPORTING.path.parent.mkdir(parents=True, exist_ok=True)
            with REPORTING.path.open("a") as file:
                file.write(json.dumps(dataclasses.asdict(self)) + "\n")
