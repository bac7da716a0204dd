"""The oracle is itself tested: every kind of mistake is found, and right answers pass."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.services.oracle.answers import Answer, Answers, Question
from tests.services.oracle.events import EventStream
from tests.services.oracle.expected import Expected, expected
from tests.services.oracle.inquest import Inquest
from tests.services.oracle.judging import Verdict
from tests.services.oracle.mishaps import Mix, Shift
from tests.services.oracle.reporting import REPORTING, Report
from tests.services.oracle.views import VIEWS
from tests.unit.oracle.counting import PARTITIONS, WINDOW_MS, Counting

START_MS = 1_700_000_000_000 // 60_000 * 60_000
RECORDS = 150
OFFSET = 1_000
NO_MISHAPS = Mix()
ALL_MISHAPS = Mix(
    poison=0.05,
    oversized=0.002,
    repeats=0.05,
    shifts=(Shift(0.05, -5_000), Shift(0.05, -45_000), Shift(0.01, 90_000_000)),
    hot=0.3,
)

Mistake = Callable[[Counting], None]


def counted(mix: Mix = NO_MISHAPS) -> Counting:
    """Everything of three thousand events in about ten windows, right."""
    stream = EventStream(11, 300, START_MS, mix=mix)
    counting = Counting(stream)
    counting.feed(stream.lines(0, RECORDS))
    counting.letters = list(truth_of(counting).letters)
    return counting


def truth_of(counting: Counting) -> Expected:
    records = np.arange(RECORDS)
    offsets = OFFSET + records // PARTITIONS
    ledger = np.stack((records, records % PARTITIONS, offsets), axis=1)
    return expected(counting.stream, ledger, VIEWS)


def judged(counting: Counting) -> Verdict:
    return Inquest(counting, truth_of(counting), counting.read_letters).judge()


def test_right_answers_pass() -> None:
    counting = counted()
    verdict = judged(counting)
    assert verdict.wrong == []
    assert (verdict.counted, verdict.lost, verdict.doubled) == (RECORDS * 20, 0, 0)


@pytest.mark.parametrize("repeats_count", [True, False])
def test_right_answers_pass_with_every_mishap_there_is(repeats_count: bool) -> None:
    counting = counted(replace(ALL_MISHAPS, repeats_count=repeats_count))
    truth, verdict = truth_of(counting), judged(counting)
    assert verdict.wrong == []
    assert min(truth.late(view) for view in VIEWS) > 10
    assert min(truth.refused, verdict.dead_letters - truth.refused) > 10
    assert (truth.duplicates > 10) != repeats_count


def lose(counting: Counting, place: int = 1_234) -> None:
    number = counting.taken["ids"][place].number
    for metric, events in counting.taken.items():
        counting.taken[metric] = [one for one in events if one.number != number]


def double(counting: Counting) -> None:
    for events in counting.taken.values():
        events.append(events[700])


def double_by_far(counting: Counting) -> None:
    counting.taken["ids"] += counting.taken["ids"][700:701] * 20


def move(counting: Counting) -> None:
    for events in counting.taken.values():
        events[500] = events[500]._replace(time_ms=events[500].time_ms + WINDOW_MS)


def swap(counting: Counting) -> None:
    """One is lost and another one counted twice: the totals are right."""
    lose(counting)
    double(counting)


@pytest.mark.parametrize(
    ("mistake", "lost", "doubled"),
    [(lose, 1, 0), (double, 0, 1), (double_by_far, 0, 20), (move, 1, 1), (swap, 1, 1)],
)
def test_events_that_are_lost_or_counted_twice_are_counted(
    mistake: Mistake, lost: int, doubled: int
) -> None:
    counting = counted()
    mistake(counting)
    verdict = judged(counting)
    assert (verdict.lost, verdict.doubled) == (lost, doubled)
    assert verdict.wrong


def test_a_lost_event_is_named_with_its_place_in_the_log() -> None:
    counting = counted()
    number = counting.taken["ids"][1_234].number
    record = number // 20
    lose(counting)
    where = f"n={number} at {record % PARTITIONS}/{OFFSET + record // PARTITIONS}"
    assert any("lost: " + where in text for text in judged(counting).wrong)


def change_of(metric_width: int, column: int, by: float) -> Callable[[Answer], Answer]:
    """Answers whose first row of that width has something added to a column from the end."""

    def change(answer: Answer) -> Answer:
        rows = [list(row) for row in answer.rows]
        if rows and len(rows[0]) == metric_width:
            rows[0][column] += by
        return replace(answer, rows=rows)

    return change


AMOUNTS_WIDTH, WINDOWS_WIDTH, IDS_WIDTH = 8, 7, 6


@pytest.mark.parametrize(
    ("width", "column", "by", "told"),
    [
        (AMOUNTS_WIDTH, 3, 1, "amounts: count"),
        (AMOUNTS_WIDTH, 4, 1, "amounts: sum"),
        (AMOUNTS_WIDTH, 5, 1, "amounts: min"),
        (AMOUNTS_WIDTH, 6, -1, "amounts: max"),
        (AMOUNTS_WIDTH, 7, 20, "amounts: distinct"),
        (WINDOWS_WIDTH, 2, -1, "windows: count"),
        (WINDOWS_WIDTH, 6, 200, "windows: p50"),
        (IDS_WIDTH, 4, 1, "ids: min"),
    ],
)
def test_an_aggregate_that_is_off_is_found(width: int, column: int, by: float, told: str) -> None:
    counting = counted()
    counting.change = change_of(width, column, by)
    assert any(told in text for text in judged(counting).wrong)


def without_a_row(answer: Answer) -> Answer:
    return replace(answer, rows=answer.rows[1:])


def with_other(answer: Answer) -> Answer:
    other = ["__other__" if isinstance(value, str) else value for value in answer.rows[0]]
    return replace(answer, rows=[*answer.rows, other])


def with_series_folded(answer: Answer) -> Answer:
    return replace(answer, degraded=("max_series: 7 events are counted in the series __other__",))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_a_row, "missing"),
        (with_other, "not ours"),
        (with_series_folded, "max_series"),
        (lambda answer: replace(answer, late=answer.late - 1), "late events"),
    ],
)
def test_an_answer_with_other_rows_or_another_meta_is_found(
    change: Callable[[Answer], Answer], told: str
) -> None:
    counting = counted()
    counting.change = change
    assert any(told in text for text in judged(counting).wrong)


def test_a_dead_letter_too_few_or_too_many_is_found_and_a_repeated_one_is_none() -> None:
    counting = counted(ALL_MISHAPS)
    letter = counting.letters[3]
    counting.letters.append(letter)
    assert judged(counting).right
    counting.letters = [one for one in counting.letters if one != letter]
    assert any("1 missing" in text for text in judged(counting).wrong)
    counting.letters += [letter, replace(letter, place=99)]
    assert any("1 unexpected" in text for text in judged(counting).wrong)


class TwoWorkers(Counting):
    """One who is right, and another one who may be down, or has stood still."""

    other: Counting | None = None

    @property
    def readers(self) -> Sequence[Answers]:
        return [self, self.other or Down()]


class Down:
    name = "down"

    def ask(self, question: Question, seconds_max: float) -> Answer | None:
        return None


def test_one_that_is_right_does_not_hide_another_that_stands_still() -> None:
    """Nor is one that is down held against the others."""
    stream = EventStream(11, 300, START_MS)
    workers, still = TwoWorkers(stream), Counting(stream, name="worker-9")
    workers.feed(stream.lines(0, RECORDS))
    assert judged(workers).right
    still.feed(stream.lines(0, RECORDS - 1))
    workers.other = still
    verdict = judged(workers)
    assert verdict.lost == 20
    assert all(text.startswith("worker-9: ") for text in verdict.wrong)


def test_a_report_is_one_line_of_json_and_one_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: dict[str, Any] = dict.fromkeys(Report.__dataclass_fields__, 0)
    numbers |= {"fault": "killed", "lost": 3, "fresh_seconds": [1.0, 4.0, 2.0], "figures": {}}
    report = Report(**numbers)
    monkeypatch.setattr(REPORTING, "path", tmp_path / "new" / "report.jsonl")
    monkeypatch.setattr(REPORTING, "lines", [])
    report.write()
    report.write()
    first, second = (tmp_path / "new" / "report.jsonl").read_text().splitlines()
    assert json.loads(first) == json.loads(second) == dataclasses.asdict(report)
    assert REPORTING.lines[0].startswith("killed: seed=0 ")
    assert "lost=3" in REPORTING.lines[0]
    assert "fresh_p50/max=2.0/4.0s" in REPORTING.lines[0]
