"""Owns what is true of a sweep's events, and whether an answer says so; it uses no product code.

The truth is a plain loop over the events as the standard library parses them.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from benchmarks.results import WrongResult
from benchmarks.sweeps.definitions import Definition, Event, whole_range

#: Rows that the worker answers at most.
ROWS_MAX = 100_000
#: Our sketches promise 1 % for a percentile, and a standard error of 1.15 % for distinct values, of
#: which five are allowed and one value more. Sums may differ by the order of addition.
P95_ERROR_MAX, DISTINCT_ERROR_MAX, SUM_ERROR_MAX = 0.01, 0.0575, 1e-9

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

Cell = tuple[Any, ...]
"""A window's start and the texts of a series."""


class Group:
    """What a cell's events say."""

    __slots__ = ("distinct", "texts", "values")

    def __init__(self, definition: Definition) -> None:
        self.values: list[float] = []
        self.distinct: set[str] | None = set() if definition.distinct else None
        self.texts: Counter[str] | None = Counter() if definition.topk else None


Truth = Mapping[Cell, Group]


def truths(definitions: Sequence[Definition], lines: Iterable[bytes]) -> dict[str, Truth]:
    """By the name of a metric all its cells; windows are aligned to the epoch."""
    found: dict[str, defaultdict[Cell, Group]] = {
        one.name: defaultdict(partial(Group, one)) for one in definitions
    }
    for line in lines:
        event = json.loads(line)
        time_ms = _time_ms(event["timestamp"])
        for one in definitions:
            if one.where is not None and not one.where.holds(event):
                continue
            start_ms = time_ms // one.window_ms * one.window_ms
            cell = (start_ms, *(str(_at(event, path)) for path in one.dimensions))
            group = found[one.name][cell]
            group.values.append(_at(event, one.value))
            if one.distinct and group.distinct is not None:
                group.distinct.add(_at(event, one.distinct))
            if one.topk and group.texts is not None:
                group.texts[_at(event, one.topk)] += 1
    return {name: dict(cells) for name, cells in found.items()}


@dataclass(frozen=True, slots=True)
class Question:
    """All cells of a metric whose last dimension begins with `prefix`, in a range (epoch ms)."""

    definition: Definition
    prefix: str
    range: Mapping[str, int] = field(default_factory=whole_range)

    def document(self) -> dict[str, object]:
        """What the worker is asked."""
        one = self.definition
        asked: dict[str, object] = {
            "metrics": [one.name],
            "aggregations": one.functions,
            "groupBy": one.group_by,
            "timeRange": self.range,
            "step": one.step,
            "limit": ROWS_MAX,
        }
        if self.prefix:
            last = {"field": one.group_by[-1], "op": "startswith", "value": self.prefix}
            asked["filters"] = [last]
        return asked


def questions(definition: Definition, truth: Truth) -> Iterator[Question]:
    """As few questions as cover every cell with answers of ROWS_MAX rows at most."""
    length = 0
    while True:
        sizes = Counter(cell[-1][:length] for cell in truth)
        if max(sizes.values(), default=0) <= ROWS_MAX:
            break
        length += 1
    for prefix in sorted(sizes) or [""]:
        yield Question(definition, prefix)


def check(question: Question, rows: Sequence[Sequence[Any]], truth: Truth) -> None:
    """Raise WrongResult unless the rows are those of the truth that the question asks for."""
    one = question.definition
    width = 1 + len(one.dimensions)
    found = {tuple(row[:width]): row[width:] for row in rows}
    true = {cell: group for cell, group in truth.items() if cell[-1].startswith(question.prefix)}
    if found.keys() != true.keys() or len(rows) != len(found):
        missing, extra = len(true.keys() - found.keys()), len(found.keys() - true.keys())
        raise WrongResult(f"{one.name}: {missing} rows are missing, {extra} should not be there")
    for cell, group in true.items():
        values = sorted(group.values)
        for function, answer in zip(one.functions, found[cell], strict=True):
            if not _is_right(function, answer, group, values):
                raise WrongResult(f"{one.name}, {function} of {cell}: {answer} of {values[:9]}…")


def _is_right(function: str, answer: Any, group: Group, values: Sequence[float]) -> bool:
    n = len(values)
    match function:
        case "count":
            return bool(answer == n)
        case "min" | "max":
            return bool(answer == values[0 if function == "min" else -1])
        case "sum":
            return math.isclose(answer, math.fsum(values), rel_tol=SUM_ERROR_MAX)
        case "avg":
            return math.isclose(answer, math.fsum(values) / n, rel_tol=SUM_ERROR_MAX)
        case "p95":
            true = values[math.floor(0.95 * (n - 1))]
            return bool(abs(answer - true) <= P95_ERROR_MAX * abs(true))
        case "distinct":
            different = len(group.distinct or ())
            return bool(abs(answer - different) <= DISTINCT_ERROR_MAX * different + 1)
        case "topk":
            return {each["value"]: each["count"] for each in answer} == group.texts
    raise ValueError(f"nobody knows what is true of {function}")


def _at(event: Event, path: str) -> Any:
    root, _, name = path.partition(".")
    return event[root][name] if name else event[root]


def _time_ms(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
