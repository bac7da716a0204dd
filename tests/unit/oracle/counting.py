"""Owns a plain loop that counts events and answers questions, to be right or wrong on purpose.

It reads the records as bytes, as a worker does, and shares no arithmetic with the oracle.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.services.oracle.answers import Answer, Answers, Question
from tests.services.oracle.events import EventStream, Lines
from tests.services.oracle.expected import Letter
from tests.services.oracle.views import LIVE_VIEWS, VIEWS

PARTITIONS = 8
WINDOW_MS = 10_000
DISORDER_MS = 1_000
CLOSES_MS = {"amounts": 20_000, "windows": 30_000, "ids": 20_000}

Change = Callable[[Answer], Answer]


class Event(NamedTuple):
    """One that counts."""

    number: int
    time_ms: int
    key: tuple[str, ...]
    value: int
    user: str


@dataclass
class Counting:
    """Counts every record it is fed; ``taken`` has the events of each metric, to be tampered with.

    ``change`` tampers with answers. It claims to be complete up to the least watermark.
    """

    stream: EventStream
    live_views = LIVE_VIEWS
    views = VIEWS
    name: str = "a plain loop"
    taken: dict[str, list[Event]] = field(default_factory=lambda: {one: [] for one in CLOSES_MS})
    late: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLOSES_MS, 0))
    change: Change = lambda answer: answer
    letters: list[Letter] = field(default_factory=list)
    _highest: dict[int, int] = field(default_factory=dict)
    _ids: set[tuple[int, str]] = field(default_factory=set)

    def feed(self, lines: Lines) -> None:
        """Fold the records of these lines."""
        for record, value in self.stream.values(lines):
            for line in value.split(b"\n"):
                event = _event(line)
                if event is not None and event["timestamp"] < self.stream.future_from_ms:
                    self._fold(record % PARTITIONS, event)

    def _fold(self, partition: int, event: dict[str, Any]) -> None:
        identity = (partition, event["id"])
        if identity in self._ids and not self.stream.mix.repeats_count:
            return
        self._ids.add(identity)
        time_ms, data = event["timestamp"], event["data"]
        watermark = self._highest.get(partition, 0) - DISORDER_MS
        self._highest[partition] = max(self._highest.get(partition, 0), time_ms)
        keys = {"amounts": (event["source"], event["type"]), "ids": (data["block"],)}
        if event["type"] == "order":
            keys["windows"] = (event["source"],)
        for metric, key in keys.items():
            if time_ms // WINDOW_MS * WINDOW_MS + CLOSES_MS[metric] <= watermark:
                self.late[metric] += 1
            else:
                value = data["digit"] if metric == "ids" else data["value"]
                self.taken[metric].append(Event(data["n"], time_ms, key, value, data["user"]))

    @property
    def through_ms(self) -> int | None:
        """The least watermark, once every partition has one."""
        if len(self._highest) < PARTITIONS:
            return None
        return min(self._highest.values()) - DISORDER_MS

    # --- what is asked of it ----------------------------------------------------------------------

    @property
    def readers(self) -> Sequence[Answers]:
        return [self]

    def applied(self) -> Mapping[int, int]:
        return {}

    def complaints(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing is open."""

    def read_letters(self) -> Collection[Letter]:
        return self.letters

    def ask(self, question: Question, seconds_max: float) -> Answer:
        view = question.view
        step_ms = question.step_ms or question.to_ms - question.from_ms
        span_ms = max(step_ms, view.size_ms)
        groups: dict[tuple[int, tuple[str, ...]], list[Event]] = {}
        for event in self.taken[view.metric]:
            pane_ms = event.time_ms // WINDOW_MS * WINDOW_MS
            for start in range(question.from_ms, question.to_ms, step_ms):
                if start <= pane_ms < start + span_ms:
                    key = event.key if view.group_by else ()
                    groups.setdefault((start, key), []).append(event)
        rows = [
            [start, *key, *_aggregates(view.sketch, groups[start, key])]
            for start, key in sorted(groups)
        ]
        return self.change(Answer(rows, self.through_ms, self.late[view.metric], ()))


def _aggregates(sketch: str | None, events: Sequence[Event]) -> list[float]:
    values = sorted(event.value for event in events)
    exact: list[float] = [len(values), sum(values), values[0], values[-1]]
    sketches = {
        "distinct": len({event.user for event in events}),
        "p50": values[(len(values) - 1) // 2],
    }
    return exact if sketch is None else [*exact, sketches[sketch]]


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    good = isinstance(event, dict) and {"id", "data"} <= event.keys()
    if not good or not isinstance(event["data"], dict) or "n" not in event["data"]:
        return None
    return event  # type: ignore[no-any-return]  # json knows no types
