"""Phase 2: which delivery wins, when windows are final or revised, what is flushed and restored."""

from functools import partial

import msgspec
import pytest

from analytics.core.delivery import Delivery
from analytics.core.live.metric import LiveMetric
from analytics.core.merge import Merge, MergeState
from analytics.core.watermark import NO_WATERMARK
from tests.unit.phases import CATALOG, VISITS, S, counts, delivery, partials

SOURCES = 2


@pytest.fixture
def merge() -> Merge:
    return Merge(CATALOG, SOURCES)


def visits(of: Merge) -> LiveMetric:
    return of.metrics[VISITS.key]


def take(into: Merge, *deliveries: Delivery) -> list[bool]:
    taken = []
    for one in deliveries:
        taken.append(into.take(one))
        into.advance(into.applied + 1)
    return taken


def restored(of: Merge) -> Merge:
    again = Merge(CATALOG, SOURCES)
    written = [
        (source, pane.partials())
        for live in of.metrics.values()
        for by_source in live.panes.values()
        for source, pane in by_source.items()
    ]
    again.restore(of.applied, of.state(), written)
    return again


def test_rows_of_all_sources_add_up(merge: Merge) -> None:
    take(merge, delivery(partials(0, {"a": 1, "b": 2})), delivery(partials(0, {"a": 4}), source=1))
    assert counts(visits(merge).panes) == {0: {"a": 5, "b": 2}}


def test_a_newer_delivery_of_a_source_replaces_rows_and_a_repeated_one_changes_nothing(
    merge: Merge,
) -> None:
    newer = delivery(partials(0, {"a": 3}), stamp=(1, 9))
    assert take(merge, delivery(partials(0, {"a": 1})), newer, newer) == [True] * 3
    assert counts(visits(merge).panes) == {0: {"a": 3}}


def test_an_older_delivery_is_refused_whatever_it_holds(merge: Merge) -> None:
    take(merge, delivery(partials(0, {"a": 3}), stamp=(1, 9), watermark_ms=5 * S))
    stale = delivery(partials(0, {"a": 1}), stamp=(1, 8), watermark_ms=99 * S)
    assert take(merge, stale) == [False]
    assert counts(visits(merge).panes) == {0: {"a": 3}}
    assert merge.state().reports[0].watermark_ms == 5 * S


def test_a_new_owner_outruns_its_predecessor_but_takes_nothing_back(merge: Merge) -> None:
    """
    epoch 1   applied 100 ─ ─ ─ ─ ─ woken: applied 200
    epoch 2               applied 80 ─ ─ ─ ─ ─ ─ ─ ─ ─ applied 110
    rows      of 100 ─ ─ ─ as the watermark says ─ ─ ─ of 110
    """
    take(merge, delivery(partials(0, {"a": 10}), stamp=(1, 100), watermark_ms=5 * S))
    assert take(merge, delivery(partials(0, {"a": 8}), stamp=(2, 80), watermark_ms=4 * S)) == [
        False
    ]
    assert counts(visits(merge).panes) == {0: {"a": 10}}
    assert merge.state().reports[0].watermark_ms == 5 * S
    assert take(merge, delivery(partials(0, {"a": 20}), stamp=(1, 200))) == [False]
    assert take(restored(merge), delivery(partials(0, {"a": 9}), stamp=(2, 90))) == [False]
    assert take(merge, delivery(partials(0, {"a": 11}), stamp=(2, 110))) == [True]
    assert counts(visits(merge).panes) == {0: {"a": 11}}


def test_a_flush_that_never_arrived_whole_holds_no_new_owner_up(merge: Merge) -> None:
    """Its rows are true, but only those of the flush before it are all there."""
    take(merge, delivery(partials(0, {"a": 1}), stamp=(1, 50)))
    take(merge, delivery(partials(0, {"a": 9}), stamp=(1, 100), more=True))
    assert take(merge, delivery(partials(0, {"a": 8}), stamp=(2, 80))) == [True]
    assert counts(visits(merge).panes) == {0: {"a": 8}}


def test_a_new_owner_is_believed_beyond_the_last_flush_that_arrived_whole(merge: Merge) -> None:
    take(merge, delivery(partials(0, {"a": 5}), stamp=(1, 100)))
    take(merge, delivery(partials(0, {"a": 9}), stamp=(1, 150), more=True))
    assert take(merge, delivery(partials(0, {"a": 4}), stamp=(2, 80))) == [False]
    assert take(merge, delivery(partials(0, {"a": 6}), stamp=(2, 120))) == [True]
    assert counts(visits(merge).panes) == {0: {"a": 6}}


def test_deliveries_with_equal_stamps_are_parts_of_one_flush(merge: Merge) -> None:
    parts = [delivery(partials(start, {"a": 1}), stamp=(1, 5)) for start in (0, 10 * S)]
    assert take(merge, *parts) == [True, True]
    assert sorted(visits(merge).panes) == [0, 10 * S]


def test_the_watermark_comes_with_the_last_part_of_a_flush(merge: Merge) -> None:
    """
    source 0   rows of [0, 10) ┊ more ┊ rows of [10, 20), watermark 20 s
    source 1                                                watermark 20 s
    """
    take(merge, delivery(source=1, watermark_ms=20 * S))
    take(merge, delivery(watermark_ms=3 * S))
    flush = partial(delivery, stamp=(1, 7), watermark_ms=20 * S)
    take(merge, flush(partials(0, {"a": 1}), more=True))
    assert visits(merge).watermark_ms(SOURCES) == 3 * S
    assert visits(merge).state(0) == "open"
    assert take(merge, delivery(stamp=(1, 6), watermark_ms=50 * S)) == [False]
    take(merge, flush(partials(10 * S, {"a": 1})))
    assert visits(merge).watermark_ms(SOURCES) == 20 * S
    assert visits(merge).state(0) == "final"


def test_a_first_part_alone_says_nothing_of_the_watermark(merge: Merge) -> None:
    take(merge, delivery(source=1, watermark_ms=20 * S), delivery(watermark_ms=20 * S, more=True))
    assert visits(merge).watermark_ms(SOURCES) == NO_WATERMARK


def test_no_window_is_final_before_every_source_has_reported(merge: Merge) -> None:
    take(merge, delivery(partials(0, {"a": 1}), watermark_ms=60 * S))
    assert visits(merge).state(0) == "open"
    take(merge, delivery(source=1, watermark_ms=30 * S))
    assert visits(merge).state(0) == "final"


def test_a_window_that_changes_after_it_was_final_is_revised(merge: Merge) -> None:
    take(merge, delivery(partials(0, {"a": 1}), watermark_ms=30 * S))
    take(merge, delivery(source=1, watermark_ms=30 * S))
    same = delivery(partials(0, {"a": 1}), stamp=(2, 0), watermark_ms=30 * S)
    take(merge, same)
    assert visits(merge).state(0) == "final"  # a new owner says the same again
    take(merge, delivery(partials(0, {"a": 2}), stamp=(2, 1), watermark_ms=30 * S))
    assert visits(merge).state(0) == "revised"


def test_late_events_are_those_of_the_newest_report_of_each_source(merge: Merge) -> None:
    take(merge, delivery(late={VISITS.key: 2}), delivery(late={VISITS.key: 3}, stamp=(1, 4)))
    take(merge, delivery(late={VISITS.key: 10}, source=1))
    assert visits(merge).late_events == 13


def test_rows_of_a_metric_that_is_not_defined_here_are_left_out_and_counted(merge: Merge) -> None:
    stranger = msgspec.structs.replace(partials(0, {"a": 1}), metric="gone@1")
    assert take(merge, delivery(stranger, partials(0, {"b": 1}))) == [True]
    assert counts(visits(merge).panes) == {0: {"b": 1}}
    assert merge.unknown == 1


def test_changes_are_what_was_taken_since_the_last_time(merge: Merge) -> None:
    take(merge, delivery(partials(0, {"a": 1})), delivery(partials(0, {"b": 1}), source=1))
    changes = [(one.source, dirty.keys) for one, dirty in merge.take_changes()]
    assert changes == [(0, [("a",)]), (1, [("b",)])]
    assert merge.take_changes() == []


def test_panes_past_retention_are_evicted_for_every_source(merge: Merge) -> None:
    """Retention is one minute: the window [0, 10) is kept until the watermark is at 70 s."""
    take(merge, delivery(partials(0, {"a": 1}), watermark_ms=70 * S))
    take(merge, delivery(partials(0, {"a": 1}), source=1, watermark_ms=69 * S))
    assert merge.take_evicted() == []
    take(merge, delivery(source=1, watermark_ms=70 * S, stamp=(1, 1)))
    assert merge.take_evicted() == [(VISITS.key, 0, 0), (VISITS.key, 0, 1)]
    take(merge, delivery(partials(0, {"a": 2}), stamp=(1, 2), watermark_ms=71 * S))
    assert visits(merge).panes == {}  # rows that come for it now would be a part of them
    assert merge.take_changes() == []


def test_a_pane_that_is_evicted_is_no_change_and_the_others_keep_their_series(merge: Merge) -> None:
    take(merge, delivery(partials(0, {"a": 1, "b": 1}), source=1, watermark_ms=70 * S))
    take(merge, delivery(partials(70 * S, {"c": 1}), watermark_ms=70 * S))
    changes = merge.take_changes()
    assert merge.take_evicted() == [(VISITS.key, 0, 1)]
    assert [one.pane.partials().keys for one, _ in changes] == [[("c",)]]


def test_a_restored_merge_goes_on_like_the_one_that_was_flushed(merge: Merge) -> None:
    take(merge, delivery(partials(0, {"a": 1}), watermark_ms=30 * S, late={VISITS.key: 1}))
    take(merge, delivery(partials(10 * S, {"b": 1}), source=1, watermark_ms=30 * S))
    take(merge, delivery(partials(0, {"a": 2}), stamp=(1, 8), watermark_ms=30 * S))
    again = restored(merge)
    assert again.applied == merge.applied == 2
    assert counts(visits(again).panes) == counts(visits(merge).panes)
    assert visits(again).watermark_ms(SOURCES) == 30 * S
    assert [visits(again).state(start_ms) for start_ms in (0, 10 * S)] == ["revised", "final"]
    assert visits(again).late_events == 0  # the newest report of each source had none
    assert again.take_changes() == []
    assert take(again, delivery(partials(0, {"a": 9}), stamp=(1, 7))) == [False]


def test_a_restored_merge_that_takes_deliveries_again_calls_nothing_revised(merge: Merge) -> None:
    flushed = delivery(partials(0, {"a": 1}), watermark_ms=30 * S)
    take(merge, delivery(source=1, watermark_ms=30 * S), flushed)
    again = restored(merge)
    take(again, flushed)
    assert visits(again).state(0) == "final"


def test_what_was_final_is_final_after_a_restore_though_a_source_woke_up_behind(
    merge: Merge,
) -> None:
    take(merge, delivery(partials(0, {"a": 1}), watermark_ms=30 * S))
    take(merge, delivery(source=1, watermark_ms=30 * S))
    take(merge, delivery(source=1, watermark_ms=5 * S, stamp=(1, 9)))
    assert [visits(one).state(0) for one in (merge, restored(merge))] == ["final", "final"]


def test_more_source_partitions_than_before_the_restore_start_the_watermark_anew(
    merge: Merge,
) -> None:
    take(merge, delivery(partials(0, {"a": 1}), watermark_ms=30 * S))
    take(merge, delivery(source=1, watermark_ms=30 * S))
    more = Merge(CATALOG, SOURCES + 1)
    more.restore(merge.applied, merge.state(), [(0, partials(0, {"a": 1}))])
    assert visits(more).state(0) == "open"


def test_what_is_left_of_an_evicted_pane_is_not_restored_but_told_of_to_be_forgotten(
    merge: Merge,
) -> None:
    take(merge, delivery(partials(0, {"a": 1}), watermark_ms=70 * S))
    take(merge, delivery(source=1, watermark_ms=70 * S))
    assert len(merge.take_evicted()) == 1
    again = Merge(CATALOG, SOURCES)
    again.restore(merge.applied, merge.state(), [(0, partials(0, {"a": 1}))])
    assert visits(again).panes == {}
    assert again.take_evicted() == [(VISITS.key, 0, 0)]


def test_a_state_of_metrics_that_are_gone_does_no_harm() -> None:
    again = Merge(CATALOG, SOURCES)
    again.restore(5, MergeState({}, {"gone@1": [0, 10]}), [])
    assert (again.applied, again.metrics) == (5, {})


def test_offsets_that_hold_nothing_for_us_are_applied_as_well(merge: Merge) -> None:
    merge.advance(17)
    assert (merge.applied, merge.take_changes()) == (17, [])
