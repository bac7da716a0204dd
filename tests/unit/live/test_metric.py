"""What a worker holds of a metric: last writer wins, watermarks, window states, eviction."""

import pytest

from analytics.core.live.metric import LiveMetric
from analytics.core.watermark import NO_WATERMARK, SourceProgress
from tests.unit.query.held import Row, S, live, metric, panes

HOUR = 3_600 * S


def events(n: int, at: int = 0, carrier: str = "UA") -> list[Row]:
    return [(at + i, carrier, "JFK", float(i)) for i in range(n)]


def put(held: LiveMetric, source: int, rows: list[Row]) -> None:
    for pane in panes(held.metric, rows).values():
        held.apply(source, pane.partials())


def report(held: LiveMetric, watermark_ms: int, source: int = 0, idle: bool = False) -> int:
    """Report, and return the watermark over two source partitions, 0 and 1."""
    held.report(source, SourceProgress(watermark_ms, idle))
    return held.watermark_ms(2)


def counts(held: LiveMetric, start_ms: int = 0) -> dict[tuple[str, ...], int]:
    totals: dict[tuple[str, ...], int] = {}
    for pane, series in held.members(start_ms):
        for count, number in zip(pane.column("count").tolist(), series.tolist(), strict=True):
            totals[held.series.key(number)] = totals.get(held.series.key(number), 0) + count
    return totals


def test_a_later_snapshot_of_a_row_replaces_it_and_a_replay_changes_nothing() -> None:
    held = LiveMetric(metric())
    put(held, 0, events(2))
    put(held, 0, events(5))
    put(held, 0, events(5))
    assert counts(held) == {("UA", "JFK"): 5}


def test_source_partitions_are_held_side_by_side() -> None:
    held = live(metric(), {0: events(2), 3: [*events(1), *events(4, carrier="AA")]})
    assert sorted(held.panes[0]) == [0, 3]
    assert counts(held) == {("UA", "JFK"): 3, ("AA", "JFK"): 4}


def test_rows_that_come_later_are_numbered_as_well() -> None:
    held = LiveMetric(metric())
    put(held, 0, events(1))
    put(held, 0, [*events(1), *events(1, carrier="AA"), *events(1, carrier="DL")])
    assert counts(held) == {("UA", "JFK"): 1, ("AA", "JFK"): 1, ("DL", "JFK"): 1}


def test_partials_of_another_metric_are_refused_and_nothing_changes() -> None:
    held = LiveMetric(metric())
    stranger = panes(metric("arrivals"), events(1))[0].partials()
    with pytest.raises(ValueError, match="arrivals"):
        held.apply(0, stranger)
    assert not held.panes
    assert len(held.series) == 0


def test_there_is_no_watermark_until_every_source_partition_has_reported() -> None:
    held = LiveMetric(metric())
    assert report(held, 20 * S, source=0) == NO_WATERMARK
    assert held.silent == 1
    assert report(held, 15 * S, source=1) == 15 * S


def test_an_idle_source_does_not_hold_the_watermark_back_nor_pull_it_down_later() -> None:
    held = LiveMetric(metric())
    report(held, 5 * S, source=0, idle=True)
    assert report(held, 20 * S, source=1) == 20 * S
    assert report(held, 6 * S, source=0) == 20 * S
    assert report(held, 25 * S, source=0) == 20 * S


def test_more_source_partitions_than_before_start_the_watermark_anew() -> None:
    held = LiveMetric(metric())
    held.report(0, SourceProgress(20 * S, idle=False))
    assert held.watermark_ms(1) == 20 * S
    assert held.watermark_ms(2) == NO_WATERMARK


def test_a_pane_is_open_until_the_watermark_reaches_its_end() -> None:
    # 0        10        20   seconds
    # [--pane--)
    #        ^ 9.999: open
    #          ^ 10: final
    held = live(metric(), {0: events(1), 1: []})
    report(held, 10 * S - 1, source=1)
    report(held, 10 * S - 1, source=0)
    assert held.state(0) == "open"
    report(held, 10 * S, source=0)
    report(held, 10 * S, source=1)
    assert held.state(0) == "final"


def test_a_pane_of_hopping_windows_is_open_until_the_last_of_them_ends() -> None:
    # 0        10        20        30   seconds
    # [------- window -------------)
    #           [-pane-)
    #           [------- last window ---------)  ends at 40
    held = live(metric(window={"size": "30s", "advance": "10s"}), {0: events(1, 10 * S)}, 39 * S)
    held.watermark_ms(1)
    assert held.state(10 * S) == "open"
    held.report(0, SourceProgress(40 * S, idle=False))
    held.watermark_ms(1)
    assert held.state(10 * S) == "final"


def test_a_change_after_the_end_makes_a_pane_revised_but_a_replay_does_not() -> None:
    held = live(metric(), {0: events(2)}, 10 * S)
    held.watermark_ms(1)
    put(held, 0, events(2))
    assert held.state(0) == "final"
    put(held, 0, events(3))
    assert held.state(0) == "revised"
    assert held.revised == {0}


def test_a_new_source_or_series_in_a_final_pane_revises_it() -> None:
    for change in ((1, events(1)), (0, [*events(2), *events(1, carrier="AA")])):
        held = live(metric(), {0: events(2)}, 10 * S)
        held.watermark_ms(1)
        put(held, *change)
        assert held.state(0) == "revised"


def test_panes_past_retention_are_evicted_with_all_that_belongs_to_them() -> None:
    held = live(metric(), {0: [*events(2), *events(2, 10 * S)]}, HOUR + 10 * S)
    held.watermark_ms(1)
    put(held, 0, events(3))
    assert held.evict(1) == {0: [0]}
    assert sorted(held.panes) == [10 * S]
    assert not held.revised
    assert held.evict(1) == {}


def test_partials_of_a_pane_that_was_evicted_do_not_bring_it_back() -> None:
    held = live(metric(), {0: events(2)}, 2 * HOUR)
    held.evict(1)
    put(held, 0, events(2))
    assert not held.panes


def test_a_pane_that_changes_after_one_of_its_windows_was_final_is_revised() -> None:
    sliding = metric(window={"size": "30s", "advance": "10s", "grace": "30s"})
    held = live(sliding, {0: events(2, 20 * S)}, 30 * S)
    held.watermark_ms(1)
    assert held.state_of((0, 10 * S, 20 * S), 30 * S) == "final"
    put(held, 0, events(3, 20 * S))
    assert held.state_of((0, 10 * S, 20 * S), 30 * S) == "revised"
    assert held.state(20 * S) == "open"


def test_rows_that_come_to_a_pane_that_was_settled_find_their_places() -> None:
    held = live(metric(), {0: [*events(2), *events(1, carrier="AA")]}, 10 * S)
    held.evict(1)
    put(held, 0, [*events(1, carrier="DL"), *events(3)])
    assert counts(held) == {("UA", "JFK"): 3, ("AA", "JFK"): 1, ("DL", "JFK"): 1}
    assert held.state(0) == "revised"


def test_series_without_a_pane_are_forgotten_once_they_are_half_of_all() -> None:
    old = [(i, f"C{i}", "JFK", 1.0) for i in range(5)]
    held = live(metric(), {0: [*old, *events(2, 20 * S), *events(1, 20 * S, "AA")]}, HOUR)
    held.watermark_ms(1)
    assert len(held.series) == 7
    held.report(0, SourceProgress(HOUR + 10 * S, idle=False))
    held.evict(1)
    assert held.series.keys == [("UA", "JFK"), ("AA", "JFK")]
    assert counts(held, 20 * S) == {("UA", "JFK"): 2, ("AA", "JFK"): 1}
    put(held, 0, events(1, 30 * S, "DL"))
    assert counts(held, 30 * S) == {("DL", "JFK"): 1}


def test_late_and_overflowed_events_are_summed_over_source_partitions() -> None:
    held = live(metric(max_series=1), {0: [*events(1), *events(2, carrier="AA")], 1: events(1)})
    held.late |= {0: 3, 1: 4}
    assert held.late_events == 7
    assert held.overflowed == 2
