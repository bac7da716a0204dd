"""Owns the readers that ask during the faults, and hold every answer to what had been sent by then.

An answer may say less than was sent, but never more; and where it claims to be complete it must say
all. Whoever is asked may be down or slow: each has a thread of its own.
"""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from tests.services.oracle.answers import SECONDS_MAX, Answer, Answers, Judged, Question
from tests.services.oracle.events import Flags
from tests.services.oracle.tally import COUNT, MAX, MIN, SUM, Cells, Tally
from tests.services.oracle.views import PANE_MS, View

#: Between two questions to the same one.
PAUSE_SECONDS = 0.1
EVIDENCE_MAX = 10
#: The buckets of a question: those that move, then a slice of the past, in turn.
BUCKETS = 10
#: Sums of `ids` over all blocks are beyond what a float holds exactly.
ROUNDING = 1e-9


@dataclass(slots=True)
class Seen:
    """What the readers have seen; ``excesses`` and ``early`` count answers, with some evidence.

    The evidence says how long the readers had been asking, and whom.
    """

    answers: int = 0
    excesses: int = 0
    early: int = 0
    #: How many buckets were claimed to be complete, and held to it.
    claims: int = 0
    evidence: list[str] = field(default_factory=list)
    #: By metric, the starts of the windows among those claims.
    judged: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


class Reading:
    """Readers of everybody who can be asked; a context manager.

    ``through`` has by metric the latest `data_through` that any answer had.
    """

    def __init__(
        self,
        judged: Judged,
        tally: Tally,
        start_ms: int,
        retention_ms: int | None = None,
        *,
        thorough: bool,
    ) -> None:
        """Without ``thorough`` they only ask how far the metrics are, which costs next to nothing.

        ``start_ms`` is the time of the first event. What is older than ``retention_ms`` is gone.
        """
        self._retention_ms = retention_ms
        self._tally = tally
        self._start_ms = start_ms - start_ms % PANE_MS
        self._thorough = thorough
        self._views = judged.live_views
        self._ended = threading.Event()
        self._lock = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(one,), name=f"reading {one.name}")
            for one in judged.readers
        ]
        self._began = 0.0
        self._error: BaseException | None = None
        self.through: dict[str, int] = {}
        self.seen = Seen()

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ask no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def end(self) -> Seen:
        """Ask no more; what was seen. Raises what ended a reader."""
        self.__exit__(None, None, None)
        if self._error is not None:
            raise self._error
        return self.seen

    @property
    def through_ms(self) -> int:
        """Up to where every metric is complete, -1 while one has no answer."""
        return min(self.through.get(view.metric, -1) for view in self._views)

    @property
    def oldest_ms(self) -> int:
        """From where on there are all windows, if only those of the retention are kept.

        Some are about to go: with them an answer would be held to what is no longer there.
        """
        first_ms = self._start_ms - PANE_MS
        if self._retention_ms is None:
            return first_ms
        kept_ms = self._retention_ms * 3 // 4
        newest_ms = max(self.through.values(), default=self._start_ms)
        return max(first_ms, (newest_ms - kept_ms) // PANE_MS * PANE_MS)

    def wait_through(self, time_ms: int, seconds_max: float) -> bool:
        """Block until every metric is complete up to ``time_ms``; False when it takes longer."""

        def passed() -> bool:
            return self._error is not None or all(
                self.through.get(view.metric, -1) >= time_ms for view in self._views
            )

        with self._lock:
            in_time = self._lock.wait_for(passed, seconds_max)
        if self._error is not None:
            raise self._error
        return in_time

    def _run(self, answers: Answers) -> None:
        turn = 0
        try:
            while not self._ended.wait(PAUSE_SECONDS):
                view = self._views[turn % len(self._views)]
                question = self._question(view, turn // len(self._views))
                turn += 1
                answer = answers.ask(question, SECONDS_MAX)
                if answer is None:
                    continue
                problems = Check(self._tally, question, answer, self._retention_ms).problems()
                self._note(answers.name, question, answer, problems)
        except BaseException as error:
            with self._lock:
                self._error = error
                self._lock.notify_all()

    def _question(self, view: View, turn: int) -> Question:
        """What moves, every other time; else a slice of the past, and sometimes all in one."""
        through_ms = self.through.get(view.metric, self._start_ms)
        through_ms -= through_ms % PANE_MS
        span_ms = BUCKETS * PANE_MS
        if not self._thorough:
            return Question(view, through_ms, through_ms + PANE_MS, PANE_MS)
        if turn % 4 == 3:
            return Question(view, self.oldest_ms, through_ms + span_ms, None)
        from_ms = through_ms - span_ms // 2
        slices = max(1, (from_ms - self.oldest_ms - PANE_MS) // span_ms)
        if turn % 2:
            from_ms = self.oldest_ms + turn // 2 % slices * span_ms
        return Question(view, from_ms, from_ms + span_ms, PANE_MS)

    def _note(self, name: str, question: Question, answer: Answer, problems: "Problems") -> None:
        metric = question.view.metric
        with self._lock:
            seen = self.seen
            seen.answers += bool(answer.rows)
            seen.claims += len(problems.claimed)
            if question.step_ms is not None:
                seen.judged[metric].update(problems.claimed)
            seen.excesses += bool(problems.excesses)
            seen.early += bool(problems.early)
            after = time.monotonic() - self._began
            for texts in (problems.excesses, problems.early):
                if texts and len(seen.evidence) < EVIDENCE_MAX:
                    more = f", and {len(texts) - 1} more" if len(texts) > 1 else ""
                    seen.evidence.append(f"{after:.1f} s: {name}: {metric}: {texts[0]}{more}")
            through_ms = answer.through_ms
            if through_ms is not None and through_ms > self.through.get(metric, -1):
                self.through[metric] = through_ms
                self._lock.notify_all()


@dataclass(slots=True)
class Problems:
    """What is wrong with one answer, and the starts of the buckets it claimed to be complete."""

    excesses: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    claimed: list[int] = field(default_factory=list)


class Check:
    """One answer beside the tally as of now."""

    def __init__(
        self, tally: Tally, question: Question, answer: Answer, retention_ms: int | None = None
    ) -> None:
        """Take the tally at once: what is sent later is no excuse for the answer."""
        self._retention_ms = retention_ms
        view = self._view = question.view
        self._question, self._answer = question, answer
        span_ms = question.to_ms - question.from_ms
        self._every_ms = question.step_ms or span_ms
        self._span_ms = max(question.step_ms, view.size_ms) if question.step_ms else span_ms
        self._starts = np.arange(question.from_ms, question.to_ms, self._every_ms)
        panes = self._span_ms // PANE_MS
        self._most = tally.most(view, self._starts, panes)
        self._tardy = tally.tardy(view, self._starts, panes)
        self._late = tally.late(view)

    def problems(self) -> Problems:
        """Everything that is wrong."""
        found = Problems()
        got = self._got(found)
        self._check_excess(got, found)
        self._check_claims(got, found)
        if self._answer.late > self._late:
            found.excesses.append(f"{self._answer.late} late events of {self._late}")
        found.excesses += [text for text in self._answer.degraded if "max_series" in text]
        return found

    def _got(self, found: Problems) -> Cells:
        """The answer's rows as the tally has them; what fits nowhere is an excess."""
        width = len(self._view.group_by)
        got = np.zeros_like(self._most)
        got[..., MIN], got[..., MAX] = np.inf, -np.inf
        numbers = {key: number for number, key in enumerate(self._view.keys)}
        for row in self._answer.rows:
            bucket, outside = divmod(row[0] - self._question.from_ms, self._every_ms)
            series = numbers.get(tuple(row[1 : 1 + width]))
            if series is None or outside or not 0 <= bucket < len(got):
                found.excesses.append(f"a row that nothing was sent for: {row}")
            else:
                got[bucket, series] = row[1 + width : 5 + width]
        return got

    def _check_excess(self, got: Cells, found: Problems) -> None:
        most = self._most
        above = got[..., COUNT] > most[..., COUNT]
        above |= got[..., SUM] > most[..., SUM] * (1 + ROUNDING)
        above |= (got[..., MIN] < most[..., MIN]) | (got[..., MAX] > most[..., MAX])
        found.excesses += self._texts(above, got, "more than was sent")

    def _check_claims(self, got: Cells, found: Problems) -> None:
        through_ms = self._answer.through_ms
        if through_ms is None:
            return
        claimed = self._starts + self._span_ms <= through_ms
        if self._retention_ms is not None:
            # After a standstill time leaps, and what was asked for may be gone before the answer.
            claimed &= self._starts >= through_ms - self._retention_ms + 2 * PANE_MS
        found.claimed = self._starts[claimed].tolist()
        least, tardy = self._most, self._tardy
        below = got[..., COUNT] < least[..., COUNT] - tardy[..., COUNT]
        below |= got[..., SUM] < (least[..., SUM] - tardy[..., SUM]) * (1 - ROUNDING)
        prompt = tardy[..., COUNT] == 0
        below |= prompt & (got[..., MIN] > least[..., MIN])
        below |= prompt & (got[..., MAX] < least[..., MAX])
        below &= claimed[:, np.newaxis]
        found.early += self._texts(below, got, f"less than all, though complete to {through_ms}")

    def _texts(self, at: Flags, got: Cells, problem: str) -> list[str]:
        return [
            f"{self._starts[bucket]} {'/'.join(self._view.keys[series])}: {problem}:"
            f" {got[bucket, series].tolist()} of {self._most[bucket, series].tolist()}"
            for bucket, series in np.argwhere(at).tolist()
        ]
