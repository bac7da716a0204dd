"""Owns answers that can be given again: the question is equal, and nothing has changed since.

Many screens show the same dashboard. Between two flushes they all get the same answer, and it costs
more to find than to send.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from analytics.core.live.metric import LiveMetric
from analytics.core.query.answer import Answer
from analytics.core.query.request import Query

ANSWERS_MAX = 128
#: Of an answer that is kept; larger ones are rare, and sending them costs more than finding them.
ROWS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer depends on, beside what is held of the metrics."""

    query: Query
    #: Of one worker's metric for another worker: neither ordered nor cut.
    part: bool


class Reuse:
    """The newest answers, by question."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Question, tuple[Sequence[int], Answer]] = OrderedDict()

    def find(self, question: Question, lives: Sequence[LiveMetric]) -> Answer | None:
        """The answer to an equal question to these metrics, as they still are; None without."""
        versions, answer = self._kept.get(question, (None, None))
        return answer if versions == _versions(lives) else None

    def keep(self, question: Question, lives: Sequence[LiveMetric], answer: Answer) -> None:
        """Remember the answer to a question, and no longer the oldest one if they are too many."""
        if len(answer) > ROWS_MAX:
            return
        self._kept[question] = _versions(lives), answer
        self._kept.move_to_end(question)
        if len(self._kept) > ANSWERS_MAX:
            self._kept.popitem(last=False)


def _versions(lives: Sequence[LiveMetric]) -> Sequence[int]:
    return [live.version for live in lives]
