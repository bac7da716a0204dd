"""Owns the metrics that a sweep defines, as the worker reads them; it must not fold any event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from benchmarks.events import START_MS

Event = Mapping[str, Any]

#: Every window of these benchmarks divides it, and START_MS is a multiple of it.
WHOLE_MS = 600_000
GRACE = "30s"


@dataclass(frozen=True, slots=True)
class Condition:
    """Which events count: as the worker is told it, and the same again in Python for the truth."""

    text: str
    holds: Callable[[Event], bool]


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. Paths are `type`, `source` or `data.NAME`; a dimension is named by the last part.

    `aggregations` may be count, sum, min, max, avg and p95 of `value`; `distinct` and `topk` are
    paths.
    """

    name: str
    dimensions: tuple[str, ...]
    aggregations: tuple[str, ...]
    window_ms: int
    value: str = "data.amount"
    where: Condition | None = None
    distinct: str | None = None
    topk: str | None = None
    max_series: int | None = None

    @property
    def group_by(self) -> list[str]:
        """The names of the dimensions."""
        return [path.rpartition(".")[2] for path in self.dimensions]

    @property
    def functions(self) -> list[str]:
        """Everything that can be asked of it."""
        counted = {"distinct": self.distinct, "topk": self.topk}
        return [*self.aggregations, *(name for name, path in counted.items() if path)]

    @property
    def step(self) -> str:
        """The window as a duration."""
        return f"{self.window_ms // 1000}s"

    def document(self) -> dict[str, object]:
        """What `metrics.yaml` says under the name."""
        optional = {
            "where": self.where and self.where.text,
            "distinct": self.distinct,
            "topk": self.topk,
            "max_series": self.max_series,
        }
        return {
            "value": self.value,
            "dimensions": [
                {name: path} for name, path in zip(self.group_by, self.dimensions, strict=True)
            ],
            "aggregations": list(self.aggregations),
            "window": {"size": self.step, "grace": GRACE},
            **{key: each for key, each in optional.items() if each is not None},
        }


def yaml_of(definitions: Sequence[Definition]) -> str:
    """The text of `metrics.yaml`."""
    return yaml.safe_dump({"metrics": {one.name: one.document() for one in definitions}})


def whole_range() -> dict[str, int]:
    """A range that holds every event."""
    return {"from": START_MS, "to": START_MS + WHOLE_MS}


def by_account(series: int, *functions: str) -> Definition:
    """The metric of most sweeps: `functions` of amounts by country and account, in one window."""
    return Definition(
        name="amounts",
        dimensions=("data.country", "data.account"),
        aggregations=functions,
        window_ms=WHOLE_MS,
        max_series=max(1, series),
    )
