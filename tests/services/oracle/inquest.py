"""Owns the questions at the end, once everything that was acknowledged is counted for good."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping

import polars as pl

from tests.services.oracle.answers import (
    ROWS_MAX,
    WHOLE_SECONDS_MAX,
    Answer,
    Answers,
    Judged,
    Question,
)
from tests.services.oracle.expected import Expected, Letter
from tests.services.oracle.judging import EXAMPLES, Verdict, account, compare, frame
from tests.services.oracle.views import IDS, PANE_MS, View

#: Without any progress for so long, and in all. A worker may take its time to come back.
STUCK_SECONDS = 60.0
APPLY_SECONDS_MAX = 600.0
#: Merging follows folding by a flush or two; when nothing changes for so long, something is wrong.
MERGE_SECONDS_MAX = 20.0
#: Two flushes: what is still on its way would arrive, and be seen to be too much.
HOLD_SECONDS = 0.6
POLL_SECONDS = 0.2
#: Buckets of one question at the most.
BUCKETS_MAX = 60
COMPLAINTS = 20

ReadLetters = Callable[[], Collection[Letter]]


class Inquest:
    """Holds those who are judged to the truth."""

    def __init__(
        self, judged: Judged, truth: Expected, read_letters: ReadLetters, oldest_ms: int = 0
    ) -> None:
        """Windows before ``oldest_ms`` are no longer asked for; readers have judged them."""
        self._judged, self._truth, self._read_letters = judged, truth, read_letters
        self._oldest_ms = oldest_ms
        kept = pl.col("timestamp") >= oldest_ms
        self._right = {view: truth.rows(view).filter(kept) for view in judged.views}
        self._in_one = {
            view: truth.rows(view, in_one=True, from_ms=oldest_ms) for view in judged.views
        }
        self._places = truth.places(IDS)

    def wait_applied(self, wanted: Mapping[int, int]) -> None:
        """Block until the last acknowledged offset of each partition is counted for good."""
        began = moved = time.monotonic()
        before: Mapping[int, int] = {}
        while True:
            applied = self._judged.applied()
            if all(applied.get(partition, -1) >= offset for partition, offset in wanted.items()):
                return
            now = time.monotonic()
            moved, before = (now if applied != before else moved), applied
            told = [f"applied {applied} of {wanted}", *self._judged.complaints()[-COMPLAINTS:]]
            assert now < min(moved + STUCK_SECONDS, began + APPLY_SECONDS_MAX), "\n".join(told)
            time.sleep(POLL_SECONDS)

    def settle(self) -> Verdict:
        """Ask until all is right, as long as that gets nearer; then it must stay so.

        What is counted twice does not get better with time.
        """
        began = moved = time.monotonic()
        before: Verdict | None = None
        while not ((found := self.judge()).right or found.doubled):
            now = time.monotonic()
            moved, before = (now if found != before else moved), found
            if now > min(moved + MERGE_SECONDS_MAX, began + APPLY_SECONDS_MAX):
                break
            time.sleep(POLL_SECONDS)
        if found.right:
            time.sleep(HOLD_SECONDS)
            found = self.judge()
        return found

    def judge(self) -> Verdict:
        """Ask once, everything, everybody who answers: they must agree. The worst of them."""
        deadline = time.monotonic() + STUCK_SECONDS
        while True:
            verdicts = [self._judge(reader) for reader in self._judged.readers]
            found = [verdict for verdict in verdicts if verdict is not None]
            if found:
                break
            assert time.monotonic() < deadline, "nobody answers"
            time.sleep(POLL_SECONDS)
        worst = max(found, key=lambda verdict: (verdict.lost + verdict.doubled, verdict.wrong))
        self._check_letters(worst)
        return worst

    def _judge(self, reader: Answers) -> Verdict | None:
        """What one of them says; None when it has no answer."""
        wrong: list[str] = []
        ids = self._right[IDS]
        for view in self._judged.views:
            answers: list[Answer] = []
            for question in (*self._slices(view), Question(view, *self._span(), None)):
                answer = reader.ask(question, WHOLE_SECONDS_MAX)
                if answer is None:
                    return None
                answers.append(answer)
            in_one = answers.pop()
            rows = frame(view, (row for answer in answers for row in answer.rows))
            wrong += compare(view, rows, self._right[view])
            wrong += self._check_meta(view, answers)
            if view is IDS:
                ids = rows
            else:
                wrong += self._check_in_one(view, in_one)
        verdict = account(ids, self._right[IDS], self._places)
        verdict.wrong = [f"{reader.name}: {text}" for text in (*verdict.wrong, *wrong)]
        self._check_accounts(verdict)
        return verdict

    def _slices(self, view: View) -> Iterator[Question]:
        sizes = self._right[view].group_by("timestamp").len()["len"]
        buckets = max(1, min(BUCKETS_MAX, ROWS_MAX // 2 // max(sizes.to_list(), default=1)))
        first_ms, end_ms = self._span()
        for from_ms in range(first_ms, end_ms, buckets * PANE_MS):
            to_ms = min(end_ms, from_ms + buckets * PANE_MS)
            yield Question(view, from_ms, to_ms, PANE_MS)

    def _check_in_one(self, view: View, answer: Answer) -> list[str]:
        rows = frame(view, ([0, *row[1:]] for row in answer.rows))
        return [f"all in one: {text}" for text in compare(view, rows, self._in_one[view])]

    def _check_meta(self, view: View, answers: list[Answer]) -> list[str]:
        """Nothing may be folded into `__other__`, and every late event is told of."""
        texts = {text for one in answers for text in one.degraded if "max_series" in text}
        late = self._truth.late(view)
        if answers[-1].late != late:
            texts.add(f"{view.metric}: {answers[-1].late} late events, there were {late}")
        return sorted(texts)

    def _span(self) -> tuple[int, int]:
        """Around every event, with room for what would be too early or too late."""
        times = self._truth.events["time_ms"].to_numpy()
        first, last = int(times.min()) // PANE_MS, int(times.max()) // PANE_MS
        return max((first - 3) * PANE_MS, self._oldest_ms), (last + 4) * PANE_MS

    def _check_letters(self, verdict: Verdict) -> None:
        """Every refused line has a letter, which may have come more than once."""
        found, right = set(self._read_letters()), set(self._truth.letters)
        verdict.dead_letters = len(found)
        for word, letters in (("missing", right - found), ("unexpected", found - right)):
            if letters:
                examples = sorted(letters)[:EXAMPLES]
                verdict.wrong.append(f"dead letters: {len(letters)} {word}, such as {examples}")

    def _check_accounts(self, verdict: Verdict) -> None:
        """Every acknowledged event is counted, late, refused or a duplicate."""
        truth = self._truth
        verdict.counted += int((self._places["timestamp"] < self._oldest_ms).sum())
        parts = (verdict.counted, truth.late(IDS), truth.refused, truth.duplicates)
        if sum(parts) != truth.acked + verdict.doubled - verdict.lost:
            text = "{} counted, {} late, {} refused, {} duplicates".format(*parts)
            verdict.wrong.append(f"{text}: not the {truth.acked} that were acknowledged")
