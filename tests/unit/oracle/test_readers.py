"""What readers hold answers to while events are being sent."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.services.oracle.answers import Answer, Question
from tests.services.oracle.events import EventStream
from tests.services.oracle.mishaps import Mix, Shift
from tests.services.oracle.reading import Check, Problems
from tests.services.oracle.tally import Tally
from tests.services.oracle.views import LIVE_VIEWS, PANE_MS, View
from tests.unit.oracle.counting import Counting

START_MS = 1_700_000_000_000 // 60_000 * 60_000
IN_ORDER = Mix()
TARDY = Mix(shifts=(Shift(0.1, -4_000), Shift(0.1, -45_000)))
#: Their last window is half full.
FOLDED = 131

each_view = pytest.mark.parametrize("view", LIVE_VIEWS, ids=lambda view: view.metric)


def sent(records: int, mix: Mix = IN_ORDER) -> tuple[Counting, Tally]:
    """Somebody who has counted `FOLDED` records, and a tally of so many records sent."""
    stream = EventStream(5, 300, START_MS, mix=mix)
    counting, tally = Counting(stream), Tally(stream, LIVE_VIEWS)
    counting.feed(stream.lines(0, FOLDED))
    tally.add(stream.lines(0, 31))
    tally.add(stream.lines(31, records))
    return counting, tally


def problems(
    view: View,
    counting: Counting,
    tally: Tally,
    *,
    in_one: bool = False,
    change: Callable[[Answer], Answer] = lambda answer: answer,
) -> Problems:
    """What is wrong with the (changed) answer to a question for all there is."""
    question = Question(
        view, START_MS - 6 * PANE_MS, START_MS + 20 * PANE_MS, None if in_one else PANE_MS
    )
    return Check(tally, question, change(counting.ask(question, 1.0))).problems()


@each_view
@pytest.mark.parametrize("mix", [IN_ORDER, TARDY], ids=["in order", "out of order"])
@pytest.mark.parametrize("records", [FOLDED, FOLDED + 30])
def test_an_answer_that_lags_behind_what_was_sent_is_right(
    view: View, mix: Mix, records: int
) -> None:
    for in_one in (False, True):
        found = problems(view, *sent(records, mix), in_one=in_one)
        assert (found.excesses, found.early) == ([], [])
        assert len(found.claimed) > 3 or in_one


@each_view
def test_an_answer_that_knows_more_than_was_sent_is_an_excess(view: View) -> None:
    counting, tally = sent(FOLDED - 1)
    for in_one in (False, True):
        assert problems(view, counting, tally, in_one=in_one).excesses


@each_view
def test_an_event_counted_twice_is_an_excess(view: View) -> None:
    counting, tally = sent(FOLDED)
    counting.taken[view.metric].append(counting.taken[view.metric][100])
    assert problems(view, counting, tally).excesses


@each_view
def test_an_answer_that_is_complete_a_bucket_early_is_found(view: View) -> None:
    """What it claims is the first bucket that is not full yet."""
    counting, tally = sent(FOLDED + 30)

    def early(answer: Answer) -> Answer:
        assert answer.through_ms is not None
        return replace(answer, through_ms=answer.through_ms + PANE_MS)

    found = problems(view, counting, tally, change=early)
    assert found.excesses == []
    assert found.early


@each_view
def test_an_event_that_is_missing_from_a_complete_bucket_is_found(view: View) -> None:
    counting, tally = sent(FOLDED)
    del counting.taken[view.metric][40]
    found = problems(view, counting, tally)
    assert found.excesses == []
    assert found.early


@each_view
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda answer: replace(answer, late=answer.late + 1), "late events"),
        (lambda answer: replace(answer, degraded=("max_series: 1 event",)), "max_series"),
        (lambda answer: replace(answer, rows=[[START_MS + 1, *answer.rows[0][1:]]]), "nothing was"),
    ],
)
def test_what_nobody_sent_is_an_excess(
    view: View, change: Callable[[Answer], Answer], told: str
) -> None:
    found = problems(view, *sent(FOLDED, TARDY), change=change)
    assert any(told in text for text in found.excesses)
