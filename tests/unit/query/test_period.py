"""Time ranges, steps and the buckets they make."""

from typing import Any

import pytest

from analytics.core.query.period import Period, parse_time
from analytics.errors import QueryError
from tests.unit.query.held import S, metric, question

TUMBLING = metric()
HOPPING = metric(window={"size": "30s", "advance": "10s"})


def period(**more: Any) -> Period:
    return question(metric(), **more).period


@pytest.mark.parametrize(
    ("value", "time_ms"),
    [
        (0, 0),
        (1_795_478_400_000, 1_795_478_400_000),
        ("2026-11-24T00:00:00Z", 1_795_478_400_000),
        ("2026-11-24t00:00:00z", 1_795_478_400_000),
        ("2026-11-24 01:00:00+01:00", 1_795_478_400_000),
        ("2026-11-23T19:30:00.1239-04:30", 1_795_478_400_123),
    ],
)
def test_a_time_is_rfc_3339_or_epoch_milliseconds(value: object, time_ms: int) -> None:
    assert parse_time(value) == time_ms


@pytest.mark.parametrize(
    "value",
    [
        *("2026-11-24", "2026-11-24T00:00:00", "20261124T000000Z", "2026-W48-2", "now", ""),
        *("2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59", True, None, 1.5, -1, 10**18),
    ],
)
def test_anything_else_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="must be RFC 3339"):
        parse_time(value)


def test_without_a_step_the_range_is_one_bucket_of_whole_panes() -> None:
    # 0        10        20        30   seconds
    #      [---- asked -----)
    # [--------- answered ---------)    panes of 10 s
    assert period(span=(5 * S, 21 * S)) == Period(0, 30 * S, None)
    assert period(span=(10 * S, 20 * S)).count == 1


def test_with_a_step_the_range_is_widened_to_whole_buckets() -> None:
    assert period(span=(5 * S, 21 * S), step="20s") == Period(0, 40 * S, 20_000)


def test_last_ends_now_and_includes_the_pane_of_this_moment() -> None:
    found = period(span=(0, 61 * S), timeRange={"last": "30s"})
    assert (found.from_ms, found.to_ms) == (30 * S, 70 * S)


def test_a_range_without_to_ends_now() -> None:
    assert period(span=(0, 60 * S), timeRange={"from": 0}) == Period(0, 60 * S, None)


def test_panes_of_two_metrics_are_aligned_to_both() -> None:
    other = metric("other", window={"size": "15s"})
    assert question([TUMBLING, other], span=(31 * S, 32 * S)).period == Period(30 * S, 60 * S, None)


def test_a_tumbling_pane_is_in_one_bucket() -> None:
    buckets = Period(0, 60 * S, 20 * S)
    found = [list(buckets.buckets_of(at * S, TUMBLING.window)) for at in (-10, 0, 10, 20, 50, 60)]
    assert found == [[], [0], [0], [1], [2], []]


def test_a_hopping_pane_is_in_every_window_that_covers_it() -> None:
    # 0    10   20   30   40   seconds; buckets at 0, 10 and 20 are windows of 30 s
    # [----0--------)
    #      [----1--------)
    #           [----2--------)
    buckets = Period(0, 30 * S, 10 * S)
    found = [
        list(buckets.buckets_of(at * S, HOPPING.window)) for at in (-10, 0, 10, 20, 30, 40, 50)
    ]
    assert found == [[], [0], [0, 1], [0, 1, 2], [1, 2], [2], []]


def test_a_hopping_metric_in_steps_of_its_size_or_more_has_plain_buckets() -> None:
    buckets = Period(0, 120 * S, 60 * S)
    assert buckets.span_ms(HOPPING.window) == 60 * S
    assert list(buckets.buckets_of(50 * S, HOPPING.window)) == [0]


def test_one_bucket_shorter_than_a_hopping_window_is_still_only_the_range() -> None:
    buckets = Period(0, 10 * S, None)
    assert buckets.span_ms(HOPPING.window) == 10 * S
    assert list(buckets.buckets_of(10 * S, HOPPING.window)) == []


@pytest.mark.parametrize(
    ("more", "pointer", "message"),
    [
        ({"timeRange": None}, "/timeRange", "is required"),
        ({"timeRange": {}}, "/timeRange/from", "must be RFC 3339"),
        ({"timeRange": {"from": 5, "to": 5}}, "/timeRange/to", "must be after from"),
        ({"timeRange": {"last": "1h", "to": 5}}, "/timeRange", "either last, or"),
        ({"timeRange": {"last": 5}}, "/timeRange/last", "such as 10s, got 5"),
        ({"timeRange": {"lost": "1h"}}, "/timeRange/lost", "did you mean 'last'"),
        ({"step": "15s"}, "/step", "must be a multiple of 10000 ms for 'delays', got '15s'"),
        ({"step": 10_000}, "/step", "must be a duration"),
        ({"span": (0, 401 * 86_400 * S)}, "/timeRange", "401 days, the limit is 400 days"),
        ({"span": (0, 200_000 * S), "step": "10s"}, "/step", "20,000, the limit is 10,000"),
    ],
)
def test_what_is_wrong_with_a_period_is_said_at_its_place(
    more: dict[str, object], pointer: str, message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        period(**more)
    found = {mistake.pointer: mistake.message for mistake in caught.value.errors}
    assert message in found[pointer]
