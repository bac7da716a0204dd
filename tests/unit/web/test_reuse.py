"""Answers given again: what was found before, as long as finding it anew would give the same."""

from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import Metric
from analytics.core.live.metric import LiveMetric
from analytics.core.query.answer import Answer
from analytics.core.watermark import SourceProgress
from tests.unit.query.held import S, live, metric, panes, question
from web import reuse as module
from web.answering import Answering
from web.reuse import Question, Reuse

DELAYS = metric("delays", retention="40s")
SOURCES = 2
ROWS = [(1 * S, "UA", "JFK", 5.0), (12 * S, "AA", "LGA", 7.0)]


class Worker:
    """Owns the one metric."""

    def __init__(self) -> None:
        self.held: LiveMetric | None = live(DELAYS, {0: ROWS, 1: ROWS}, watermark_ms=15 * S)
        self.reuse = Reuse()

    def owner(self, _: Metric) -> int:
        return 0

    def owns(self, _: Metric) -> bool:
        return True

    def live(self, _: Metric) -> LiveMetric | None:
        return self.held

    async def ask(self, *, anew: bool = False, part: bool = False, **asked: Any) -> Answer:
        reuse = Reuse() if anew else self.reuse
        peers = cast(Any, None)  # nobody else is asked
        answering = Answering(Catalog((DELAYS,)), self, peers, SOURCES, reuse=reuse)
        document = {
            "metrics": ["delays"],
            "aggregations": ["count", "p95", "distinct"],
            "groupBy": ["source"],
            "timeRange": {"from": 0, "to": 60 * S},
            **asked,
        }
        return await answering.answer(document, part=part)


def same(given_again: Answer, found: Answer) -> bool:
    """Whether they say the same, but for when and how they were found."""
    metas = [
        replace(one.meta, cached=False, took_ms=0.0, lag_ms=None) for one in (given_again, found)
    ]
    return (
        list(given_again.rows()) == list(found.rows())
        and given_again.buckets == found.buckets
        and metas[0] == metas[1]
    )


@given(
    st.lists(
        st.sampled_from(["ask", "ask", "ask", "part", "fold", "watermark", "evict", "move"]),
        max_size=12,
    )
)
async def test_an_answer_is_what_finding_it_anew_would_give_whatever_has_happened(
    steps: list[str],
) -> None:
    worker = Worker()
    at_ms = 20 * S
    for step in steps:
        held = worker.held
        at_ms += 7 * S
        if step in ("ask", "part"):
            asked = {"part": step == "part"}
            assert same(await worker.ask(**asked), await worker.ask(anew=True, **asked))
        elif held is not None and step == "fold":
            for pane in panes(DELAYS, [*ROWS, (at_ms, "DL", "EWR", 1.0)]).values():
                held.apply(0, pane.partials())
        elif held is not None and step == "watermark":
            for source in range(SOURCES):
                held.report(source, SourceProgress(at_ms, idle=False))
        elif held is not None and step == "evict":
            held.evict(SOURCES)
        elif step == "move":  # away, and back with another state
            worker.held = None if held is not None else live(DELAYS, {0: ROWS})
    assert same(await worker.ask(), await worker.ask(anew=True))


async def test_an_equal_question_gets_the_same_answer_and_is_told_so() -> None:
    worker = Worker()
    first, again = await worker.ask(), await worker.ask()
    assert (first.meta.cached, again.meta.cached) == (False, True)
    assert again.data is first.data
    assert again.meta.lag_ms is not None and first.meta.lag_ms is not None
    assert again.meta.lag_ms >= first.meta.lag_ms
    assert not (await worker.ask(limit=1)).meta.cached
    assert not (await worker.ask(part=True)).meta.cached


async def test_after_any_change_it_is_found_anew() -> None:
    worker = Worker()
    await worker.ask()
    assert worker.held is not None
    worker.held.report(0, SourceProgress(15 * S, idle=True))
    assert not (await worker.ask()).meta.cached


async def test_only_so_many_answers_are_kept_and_no_large_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ANSWERS_MAX", 2)
    worker = Worker()
    for limit in (1, 2, 3):
        await worker.ask(limit=limit)
    kept = [(await worker.ask(limit=limit)).meta.cached for limit in (3, 2)]
    assert kept == [True, True]
    assert not (await worker.ask(limit=1)).meta.cached
    monkeypatch.setattr(module, "ROWS_OF_ALL_MAX", 2)
    rows = len(await worker.ask(limit=4))
    assert (await worker.ask(limit=4)).meta.cached
    assert [len(answer) for _, answer in worker.reuse._kept.values()] == [rows] == [2]
    monkeypatch.setattr(module, "ROWS_MAX", 1)
    await worker.ask(limit=9)
    assert not (await worker.ask(limit=9)).meta.cached


def test_what_is_asked_for_another_worker_is_another_question() -> None:
    asked = question(DELAYS, "count")
    assert Question(asked, part=True) != Question(asked, part=False)
