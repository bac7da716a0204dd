"""Watermarks against a loop over events, and what a minimum over partitions promises."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analytics.core import watermark
from analytics.core.watermark import NO_WATERMARK, SourceProgress, combine, running

TIMES = st.integers(0, 1_000)
REPORTS = st.lists(st.builds(SourceProgress, watermark_ms=TIMES, idle=st.booleans()), max_size=6)


def naive(
    timestamps: Sequence[int], highest_ms: int | None, now_ms: int, disorder_ms: int
) -> tuple[list[int], int | None]:
    before = []
    for timestamp in timestamps:
        before.append(NO_WATERMARK if highest_ms is None else min(highest_ms, now_ms) - disorder_ms)
        highest_ms = timestamp if highest_ms is None else max(highest_ms, timestamp)
    return before, highest_ms


@given(st.lists(TIMES), st.none() | TIMES, TIMES, st.integers(0, 50))
def test_the_watermark_before_each_event_is_that_of_a_loop(
    timestamps: list[int], highest_ms: int | None, now_ms: int, disorder_ms: int
) -> None:
    before, after = running(np.array(timestamps, np.int64), highest_ms, now_ms, disorder_ms)
    assert (before.tolist(), after) == naive(timestamps, highest_ms, now_ms, disorder_ms)
    assert (np.diff(before) >= 0).all()  # it never goes back


@given(st.lists(TIMES), st.integers(0, 100), TIMES, st.integers(0, 50))
def test_two_batches_have_the_watermarks_of_one(
    timestamps: list[int], place: int, now_ms: int, disorder_ms: int
) -> None:
    log = np.array(timestamps, np.int64)
    whole, highest_ms = running(log, None, now_ms, disorder_ms)
    first, between = running(log[:place], None, now_ms, disorder_ms)
    second, after = running(log[place:], between, now_ms, disorder_ms)
    assert np.concatenate((first, second)).tolist() == whole.tolist()
    assert after == highest_ms
    assert watermark.of(between, now_ms, disorder_ms) == (
        second[0] if len(second) else watermark.of(after, now_ms, disorder_ms)
    )


def test_an_event_from_the_future_moves_the_watermark_only_to_now() -> None:
    #  now = 100, disorder = 10          v now
    #  events          20    40          |             9000        50
    #  watermark   none   10    30       |                   90
    before, highest_ms = running(np.array([20, 40, 9000, 50]), None, now_ms=100, disorder_ms=10)
    assert before.tolist() == [NO_WATERMARK, 10, 30, 90]
    assert highest_ms == 9000


@given(REPORTS)
def test_active_partitions_hold_the_watermark_and_idle_ones_do_not(
    reports: list[SourceProgress],
) -> None:
    active = [report.watermark_ms for report in reports if not report.idle]
    result = combine(reports)
    if active:
        assert result == min(active)
    elif reports:
        assert result == max(report.watermark_ms for report in reports)
    else:
        assert result == NO_WATERMARK


@given(REPORTS, st.integers(0, 5), st.integers(0, 100))
def test_progress_of_one_partition_never_lowers_the_watermark(
    reports: list[SourceProgress], which: int, step_ms: int
) -> None:
    if which < len(reports):
        further = list(reports)
        report = reports[which]
        further[which] = SourceProgress(report.watermark_ms + step_ms, report.idle)
        assert combine(further) >= combine(reports)
