"""Phase 1 of one source partition: what it folds, closes, hands out and takes up again."""

from collections import Counter

import msgspec
import pytest

from analytics.core.definitions.catalog import Catalog
from analytics.core.source import Source, SourceState, closes_at
from analytics.core.watermark import NO_WATERMARK
from tests.unit.phases import (
    NOW_MS,
    VISITS,
    S,
    catalog,
    event,
    flushed,
    fold,
    read,
    rows,
    source,
)


def held(of: Source) -> dict[int, dict[str, int]]:
    return {start_ms: rows(pane) for _, start_ms, pane in of.open_panes()}


def restored(of: Source, *, into: Source | None = None) -> Source:
    """What the next owner makes of a flush of everything."""
    made = into or source()
    made.restore(of.applied, of.state(), [one.pane.partials() for one in of.open_panes()])
    return made


def test_a_new_source_has_applied_nothing_and_has_no_watermark() -> None:
    made = source()
    assert (made.applied, made.watermark_ms(NOW_MS)) == (-1, NO_WATERMARK)
    assert made.take_changes() == []
    assert made.take_closed(NOW_MS) == []


def test_events_are_folded_into_the_pane_of_their_time() -> None:
    made = source()
    read(made, (1 * S, "a"), (9 * S, "a"), (9 * S, "b"), (10 * S, "a"))
    assert held(made) == {0: {"a": 2, "b": 1}, 10 * S: {"a": 1}}
    assert made.applied == 3


def test_records_that_hold_no_valid_event_are_applied_as_well() -> None:
    made = source()
    decoded, folded = fold(made, [b"{", None, b"", event(0)], 41)
    assert (folded.events, [one.record for one in decoded.rejected]) == (1, [0])
    assert made.applied == 41
    assert fold(made, [b"no"], 42)[1].events == 0
    assert made.applied == 42


def test_changes_are_the_rows_since_the_last_time_and_cumulative() -> None:
    made = source()
    read(made, (0, "a"), (0, "b"))
    assert [part.keys for part in flushed(made)] == [[("a",), ("b",)]]
    assert flushed(made) == []
    read(made, (1 * S, "b"), (11 * S, "c"))
    assert [part.keys for part in flushed(made)] == [[("b",)], [("c",)]]
    assert held(made)[0] == {"a": 1, "b": 2}


def test_the_watermark_is_the_highest_time_less_the_disorder_and_never_beyond_the_clock() -> None:
    made = source()
    read(made, (7 * S, "a"), (3 * S, "a"))
    assert made.watermark_ms(NOW_MS) == 6 * S
    assert made.watermark_ms(5 * S) == 4 * S


def test_a_pane_closes_when_the_watermark_has_passed_its_window_and_the_grace() -> None:
    """
    pane      [0 ─────── 10)
    grace                 ─────── 15
    watermark                     ▲ closes, and what comes for the pane now is late
    """
    made = source()
    read(made, (0, "a"), (15 * S, "a"))
    flushed(made)
    assert made.take_closed(NOW_MS) == []
    read(made, (16 * S, "a"))
    flushed(made)
    assert [one.start_ms for one in made.take_closed(NOW_MS)] == [0]
    assert held(made) == {10 * S: {"a": 2}}
    assert closes_at(VISITS, 0) == 15 * S


def test_a_pane_stays_open_until_a_flush_that_takes_no_changes_of_it() -> None:
    """A flush writes what it closes before it publishes what it took, and may die in between."""
    made = source()
    read(made, (0, "a"), (30 * S, "a"))
    assert made.take_closed(NOW_MS) == []
    flushed(made)
    assert made.take_closed(NOW_MS) == []
    flushed(made)
    assert [one.start_ms for one in made.take_closed(NOW_MS)] == [0]


def test_panes_close_in_order_so_that_none_older_than_a_closed_one_has_unpublished_rows() -> None:
    made = source()
    read(made, (0, "a"), (10 * S, "a"), (60 * S, "a"))
    flushed(made)
    other = source()
    other.restore(made.applied, made.state(), [one.pane.partials() for one in made.open_panes()])
    other.highest_ms = 0  # a clock that is behind takes an event into the older of the two
    read(other, (1 * S, "b"))
    flushed(other)
    assert other.take_closed(NOW_MS) == []
    other.highest_ms = made.highest_ms
    assert other.take_closed(NOW_MS) == []
    flushed(other)
    assert other.take_closed(NOW_MS) == [(VISITS.key, 0), (VISITS.key, 10 * S)]


def test_what_is_left_of_a_closed_pane_is_not_restored_but_told_of_to_be_forgotten() -> None:
    """The deletes of its newest rows may have come through alone."""
    made = source()
    read(made, (0, "a"))
    old = flushed(made)
    read(made, (0, "a"), (30 * S, "a"))
    newest = flushed(made)
    flushed(made)
    assert made.take_closed(NOW_MS) == [(VISITS.key, 0)]
    again = source()
    again.restore(made.applied, made.state(), [*old, *newest])
    assert held(again) == {30 * S: {"a": 1}}
    assert again.take_closed(NOW_MS) == [(VISITS.key, 0)]
    assert again.take_closed(NOW_MS) == []


def test_an_event_is_late_by_the_watermark_before_it_and_counted_by_metric() -> None:
    made = source()
    read(made, (0, "a"), (16 * S, "a"), (1 * S, "late"), (10 * S, "in time"))
    assert made.late == {VISITS.key: 1}
    assert held(made) == {0: {"a": 1}, 10 * S: {"a": 1, "in time": 1}}


def test_what_counts_as_late_does_not_depend_on_how_records_are_cut() -> None:
    log = [(0, "a"), (16 * S, "a"), (1 * S, "late"), (40 * S, "b"), (12 * S, "late"), (35 * S, "c")]
    at_once, one_by_one = source(), source()
    read(at_once, *log)
    for one in log:
        read(one_by_one, one)
        flushed(one_by_one)
    assert held(at_once) == held(one_by_one)
    assert at_once.late == one_by_one.late == {VISITS.key: 2}


def test_a_restored_source_goes_on_like_the_one_that_was_flushed() -> None:
    made = source()
    read(made, (0, "a"), (16 * S, "b"), (1 * S, "late"))
    again = restored(made)
    assert (again.applied, again.highest_ms, again.late) == (2, 16 * S, {VISITS.key: 1})
    assert held(again) == held(made)
    assert flushed(again) == []  # what was restored is durable already
    for one in (made, again):
        read(one, (2 * S, "late"), (17 * S, "b"))
    assert held(again) == held(made)
    assert again.late == made.late


def test_of_rows_written_twice_the_later_ones_count() -> None:
    made = source()
    read(made, (0, "a"))
    older = flushed(made)
    read(made, (0, "a"))
    newer = flushed(made)
    again = source()
    again.restore(1, made.state(), [*older, *newer])
    assert held(again) == {0: {"a": 2}}


def test_panes_of_a_metric_that_is_no_longer_defined_are_left_out() -> None:
    made = source()
    read(made, (0, "a"))
    other = catalog(where='type == "other"')
    again = restored(made, into=source(other))
    assert held(again) == {}
    assert again.applied == 0


@pytest.mark.parametrize(
    ("next_owner", "now_ms"),
    [
        (source(catalog(window={"size": "10s", "grace": "45s"})), NOW_MS),
        (source(disorder_ms=60 * S), NOW_MS),
        (source(), 5 * S),
    ],
    ids=["more grace", "more disorder", "an earlier clock"],
)
def test_a_closed_pane_never_opens_again(next_owner: Source, now_ms: int) -> None:
    """Its rows are gone here: counting again from nothing would take the place of the full ones.

    pane 0  ━━━━━━ closed, 3 events         late, though by this watermark in time
    watermark             ▲ 29 s ─▶ fallen ▲
    """
    made = source()
    read(made, (0, "a"), (0, "a"), (0, "a"), (30 * S, "a"))
    flushed(made)
    flushed(made)
    made.take_closed(NOW_MS)
    again = restored(made, into=next_owner)
    read(again, (1 * S, "a"), now_ms=now_ms)
    assert 0 not in held(again)
    assert again.late == {VISITS.key: 1}


def test_keys_that_no_open_pane_has_are_forgotten() -> None:
    made = source(catalog(max_series=10))
    for second in range(40):
        read(made, *((second * S, f"{second} {n}") for n in range(100)))
        made.take_changes()
        made.take_closed(NOW_MS)
    assert len(held(made)) < 4
    assert max(len(keys) for keys in made.keys.values()) <= 2_000
    assert all(len(counts) == 11 for counts in held(made).values())


def two_metrics(**changes: object) -> Catalog:
    """Two metrics of the same dimensions and windows, the second with `changes`."""
    first = catalog().metrics[0]
    return Catalog((first, catalog("chosen", **changes).metrics[0]))


def test_metrics_of_the_same_dimensions_keep_their_series_while_others_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever of them has a series open: here the one with a condition has more of them."""
    monkeypatch.setattr("analytics.core.source._FORGET_MIN", 2)
    of = two_metrics(where='source != "z"', window={"size": "10s", "grace": "40s"}, retention="2m")
    made = source(of)
    expected = Counter[str]()
    for second in range(0, 60, 3):
        names = [f"{second + n}" for n in range(5)]
        read(made, *((second * S, name) for name in [*names, "z"]))
        made.take_changes()
        made.take_closed(NOW_MS)
        made.take_changes()
        made.take_closed(NOW_MS)
        if second >= 30:
            expected.update(names)
    chosen = Counter[str]()
    for one in made.open_panes():
        if one.metric == of.metrics[1].key and one.start_ms >= 30 * S:
            chosen.update(rows(one.pane))
    assert chosen == expected


def test_a_pane_that_one_metric_has_closed_takes_events_of_another_with_the_same_window() -> None:
    of = two_metrics()
    made = source(of)
    read(made, (0, "a"), (40 * S, "a"))
    made.take_changes()
    made.take_closed(NOW_MS)
    made.take_changes()
    made.take_closed(NOW_MS)
    state = made.state()
    again = source(of)
    only_first = msgspec.structs.replace(
        state, highest_ms=0, closed={of.metrics[0].key: state.closed[of.metrics[0].key]}
    )
    again.restore(made.applied, only_first, [])
    read(again, (0, "b"))
    counts = {one.metric: rows(one.pane) for one in again.open_panes()}
    assert counts == {of.metrics[1].key: {"b": 1}}
    assert again.late[of.metrics[0].key] == made.late.get(of.metrics[0].key, 0) + 1


def test_series_stay_themselves_while_others_are_forgotten() -> None:
    made, expected = source(catalog(max_series=10_000)), Counter[str]()
    for second in range(40):
        names = [f"{second * 30 + n}" for n in range(100)]
        read(made, *((second * S, name) for name in names))
        made.take_changes()
        made.take_closed(NOW_MS)
        if second >= 30:
            expected.update(names)
    assert len(made.keys[("source",),]) < 40 * 30
    assert held(made)[30 * S] == expected


def twice(of: Source, *events: tuple[str, int, str]) -> int:
    """Fold events with an id, a record each; how many of them were duplicates."""
    values = [event(at_ms, series, event_id) for event_id, at_ms, series in events]
    return fold(of, values, of.applied + len(values))[1].duplicates


def test_duplicates_are_counted_and_folded_nowhere() -> None:
    made = source(dedup_ids=10)
    assert twice(made, ("1", 0, "a"), ("1", 0, "a"), ("2", 0, "b"), ("1", 40 * S, "c")) == 2
    assert held(made) == {0: {"a": 1, "b": 1}}
    assert (made.duplicates, made.highest_ms, made.applied) == (2, 0, 3)
    both = event(0, event_id="3") + b"\n" + event(0, event_id="2")
    decoded, folded = fold(made, [both], 4)
    assert (folded.events, decoded.rejected, folded.duplicates) == (1, [], 1)


def test_duplicates_are_kept_where_nobody_asked_for_their_removal() -> None:
    made = source()
    assert twice(made, ("1", 0, "a"), ("1", 0, "a")) == 0
    assert held(made) == {0: {"a": 2}}
    assert made.ids.n == 0


def test_a_late_event_is_remembered_and_its_duplicate_is_not_late_a_second_time() -> None:
    made = source(dedup_ids=10)
    assert twice(made, ("1", 40 * S, "a"), ("2", 0, "late"), ("2", 0, "late")) == 1
    assert made.late == {VISITS.key: 1}


def test_a_refused_line_is_not_remembered_so_that_it_can_be_sent_again_corrected() -> None:
    made = source(dedup_ids=10)
    values = [event(NOW_MS + 10**9, event_id="1"), event(0, event_id="1")]
    decoded, folded = fold(made, values, 1)
    assert (folded.events, len(decoded.rejected), folded.duplicates) == (1, 1, 0)


def test_a_restored_source_knows_the_ids_and_the_number_of_duplicates() -> None:
    made = source(dedup_ids=10)
    twice(made, ("1", 0, "a"), ("1", 0, "a"), ("2", 0, "a"))
    again = source(dedup_ids=10)
    written = [dirty for _, dirty in made.ids.take_changes()]
    again.restore(made.applied, made.state(), [*flushed(made), *written])
    assert twice(again, ("2", 0, "a"), ("3", 0, "a")) == 1
    assert (held(again), again.duplicates) == ({0: {"a": 3}}, 2)


def test_a_marker_of_an_older_version_without_closed_panes_can_be_read() -> None:
    made = source()
    made.restore(7, SourceState(1 * S, {}), [])
    read(made, (0, "a"))
    assert held(made) == {0: {"a": 1}}


def test_each_metric_is_folded_and_closed_by_its_own_window() -> None:
    wide = catalog("wide", window={"size": "1m", "grace": "0s"}).metrics[0]
    both = Catalog((VISITS, wide))
    made = source(both)
    read(made, (0, "a"), (20 * S, "a"))
    flushed(made)
    flushed(made)
    assert [one.metric for one in made.take_closed(NOW_MS)] == [VISITS.key]
    assert [one.metric for one in made.open_panes()] == [VISITS.key, wide.key]
