"""Owns answers that can be given again: the question is equal, and nothing has changed since.

Many screens show the same dashboard. Between two flushes they all get the same answer, and it costs
more to find than to send.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics.core.live.metric import LiveMetric
from analytics.core.query.answer import Answer
from analytics.core.query.request import Query

ANSWERS_MAX = 128
#: Of one answer that is kept, and of all. Sending a larger one costs more than finding it.
ROWS_MAX, ROWS_OF_ALL_MAX = 10_000, 100_000


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer depends on, beside what is held of the metrics."""

    query: Query
    #: Of one worker's metric for another worker: neither ordered nor cut.
    part: bool


class Reuse:
    """The newest answers, by question."""

    def __init__(self) -> None:
        self._kept: dict[Question, tuple[Sequence[int], Answer]] = {}  # the oldest first
        self._rows = 0

    def find(self, question: Question, lives: Sequence[LiveMetric]) -> Answer | None:
        """The answer to an equal question to these metrics, as they still are; None without."""
        versions, answer = self._kept.get(question, (None, None))
        return answer if versions == _versions(lives) else None

    def keep(self, question: Question, lives: Sequence[LiveMetric], answer: Answer) -> None:
        """Remember the answer to a question, and no longer the oldest if there are too many."""
        if len(answer) > ROWS_MAX:
            return
        self._forget(question)
        self._kept[question] = _versions(lives), answer
        self._rows += len(answer)
        while len(self._kept) > ANSWERS_MAX or self._rows > ROWS_OF_ALL_MAX:
            self._forget(next(iter(self._kept)))

    def _forget(self, question: Question) -> None:
        if question in self._kept:
            _, answer = self._kept.pop(question)
            self._rows -= len(answer)


def _versions(lives: Sequence[LiveMetric]) -> Sequence[int]:
    return [live.version for live in lives]
