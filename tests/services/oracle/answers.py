"""Owns the protocol by which whoever counts is asked; must not know the right answer.

Our workers fulfil it over their HTTP interface; so does any other program that is to be judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import orjson

from tests.services.oracle.views import LIVE_VIEWS, VIEWS, View
from tests.services.workers import Worker, WorkerFleet

#: A worker that stands still must not hold its reader for long.
SECONDS_MAX = 3.0
#: The questions at the end are larger, and everybody may be busy.
WHOLE_SECONDS_MAX = 30.0
ROWS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Question:
    """Rows of a view in ``[from_ms, to_ms)``, by buckets of ``step_ms`` or all in one."""

    view: View
    from_ms: int
    to_ms: int
    step_ms: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of (bucket's start, key..., count, sum, min, max and maybe a sketch's estimate).

    ``through_ms`` is the event time up to which everything is said to be in, None while that is not
    known; ``late`` how many events came too late.
    """

    rows: list[list[Any]]
    through_ms: int | None
    late: int
    degraded: Sequence[str]


class Answers(Protocol):
    """Somebody who can be asked, from any thread."""

    name: str

    def ask(self, question: Question, seconds_max: float) -> Answer | None:
        """The answer; None while there is none. AssertionError when it is not even an answer."""


class Judged(Protocol):
    """All who share the work.

    ``live_views`` is what they can be asked during the faults, ``views`` what in the end.
    """

    live_views: Sequence[View]
    views: Sequence[View]

    @property
    def readers(self) -> Sequence[Answers]:
        """Those who can be asked."""

    def applied(self) -> Mapping[int, int]:
        """By source partition, the offset up to which events are counted for good."""

    def complaints(self) -> list[str]:
        """What they say of themselves, and have logged of errors, the newest last."""

    def close(self) -> None:
        """Ask no more."""


class WorkerAnswers:
    """One of our workers."""

    def __init__(self, worker: Worker) -> None:
        self.name = worker.name
        self._client = httpx.Client(base_url=worker.asking.url, trust_env=False)

    def ask(self, question: Question, seconds_max: float) -> Answer | None:
        view = question.view
        document: dict[str, object] = {
            "metrics": [view.metric],
            "aggregations": list(view.functions),
            "groupBy": list(view.group_by),
            "timeRange": {"from": question.from_ms, "to": question.to_ms},
            "limit": ROWS_MAX,
        }
        if question.step_ms is not None:
            document["step"] = f"{question.step_ms}ms"
        try:
            response = self._client.post("/v1/query", json=document, timeout=seconds_max)
        except httpx.TransportError:
            return None
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return None
        assert response.status_code == httpx.codes.OK, f"{self.name}: {response.text}"
        answer = orjson.loads(response.content)
        meta = answer["meta"]
        return Answer(answer["rows"], meta["data_through"], meta["late_events"], meta["degraded"])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class FleetAnswers:
    """All workers of a fleet."""

    live_views = LIVE_VIEWS
    views = VIEWS

    def __init__(self, fleet: WorkerFleet) -> None:
        self._fleet = fleet
        self.readers: Sequence[WorkerAnswers] = [WorkerAnswers(worker) for worker in fleet]

    def applied(self) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for worker in self._fleet:
            try:
                samples = worker.asking.samples("analytics_applied_offset{")
            except httpx.TransportError:
                continue  # it is down, and whoever restarts it is about to
            for partition in worker.asking.readiness().document.get("source_partitions", ()):
                key = f'analytics_applied_offset{{partition="{partition}",stage="aggregate"}}'
                if key in samples:
                    found[partition] = int(samples[key])
        return found

    def complaints(self) -> list[str]:
        logged = [f"{one.name}: {line}" for one in self._fleet for line in one.errors]
        return [*logged, *(f"{one.name}: {one.asking.readiness()}" for one in self._fleet)]

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
