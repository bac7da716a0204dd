"""A pane as its users see it: rows, missing values, ties, overflow, snapshots."""

import math

import numpy as np
import pytest

from analytics.core.aggregates.pane import OTHER, Pane
from tests.unit.aggregates.panes import Event, fold, folded, spec, state


def value_of(pane: Pane, name: str, key: str) -> float:
    return float(pane.column(name)[pane.keys.index((key,))])


def test_an_event_without_a_value_is_counted_and_nothing_more() -> None:
    pane = folded([Event(("a",), 1, 5.0), Event(("a",), 2), Event(("a",), 3, math.inf)])
    assert value_of(pane, "count", "a") == 3
    assert value_of(pane, "values", "a") == 1
    assert value_of(pane, "sum", "a") == 5.0
    assert value_of(pane, "last", "a") == 5.0


def test_a_series_without_any_value_has_no_first_and_last() -> None:
    pane = folded([Event(("a",), 1)])
    assert math.isnan(value_of(pane, "first", "a"))
    assert math.isnan(value_of(pane, "last", "a"))


def test_of_equal_timestamps_the_earlier_arrival_is_first_and_the_later_is_last() -> None:
    # arrival    1    2    3    4
    # time       7    7    9    9
    pane = folded([Event(("a",), time, value) for time, value in [(7, 1), (7, 2), (9, 3), (9, 4)]])
    assert value_of(pane, "first", "a") == 1
    assert value_of(pane, "last", "a") == 4


def test_ties_between_batches_fall_as_inside_one() -> None:
    pane = folded([Event(("a",), 7, 1.0)])
    fold(pane, [Event(("a",), 7, 2.0)])
    assert value_of(pane, "first", "a") == 1
    assert value_of(pane, "last", "a") == 2


def test_a_sum_is_that_of_a_loop_to_the_last_digit() -> None:
    values = [0.1 * i for i in range(1000)]
    total = 0.0
    for value in values:
        total += value
    assert value_of(folded([Event(("a",), 0, value) for value in values]), "sum", "a") == total


def test_beyond_max_series_new_series_fold_into_other_and_known_ones_do_not() -> None:
    log = [Event((key,)) for key in "abcabca"]
    pane = folded(log, spec(max_series=2))
    assert pane.keys == [("a",), ("b",), (OTHER,)]
    assert pane.column("count").tolist() == [3, 2, 2]
    assert pane.overflowed == 2


def test_the_other_series_of_an_event_that_is_named_so_takes_none_of_the_rows() -> None:
    pane = folded([Event((OTHER,)), Event(("a",)), Event(("b",))], spec(max_series=1))
    assert pane.keys == [(OTHER,), ("a",)]
    assert pane.column("count").tolist() == [2, 1]
    assert pane.overflowed == 1


def test_a_metric_without_dimensions_has_one_series_and_never_overflows() -> None:
    pane = folded([Event(()), Event(())], spec(dimensions=0, max_series=1))
    assert pane.keys == [()]
    assert pane.column("count").tolist() == [2]
    assert pane.overflowed == 0


def test_only_changed_rows_are_taken_and_only_once() -> None:
    pane = folded([Event(("a",)), Event(("b",))])
    assert pane.dirty == 2
    pane.take_dirty()
    assert pane.dirty == 0
    assert pane.take_dirty() is None
    fold(pane, [Event(("b",))])
    changed = pane.take_dirty()
    assert changed is not None
    assert changed.keys == [("b",)]


def test_a_snapshot_of_all_rows_leaves_the_flags_alone() -> None:
    pane = folded([Event(("a",))])
    assert pane.partials().keys == [("a",)]
    assert pane.dirty == 1


def test_a_snapshot_does_not_change_when_the_pane_goes_on() -> None:
    pane = folded([Event(("a",), 1, 1.0, "x")])
    taken, expected = pane.partials(), folded([Event(("a",), 1, 1.0, "x")]).partials()
    fold(pane, [Event(("a",), 2, 2.0, "x")])
    assert taken == expected


def test_a_replaced_row_forgets_what_it_held_before() -> None:
    pane = folded([Event(("a",), 1, 1.0, "x"), Event(("b",), 1, 1.0, "x")])
    other = folded([Event(("b",), 2, 9.0, "y")])
    rows = pane.replace(other.partials())
    assert rows.tolist() == [1]
    assert state(pane) == {**state(folded([Event(("a",), 1, 1.0, "x")])), **state(other)}


def test_replaced_rows_are_dirty_so_that_they_can_be_passed_on() -> None:
    pane = Pane(spec(), 0)
    pane.replace(folded([Event(("a",))]).partials())
    assert pane.dirty == 1


def test_a_row_that_comes_again_as_it_was_is_no_news() -> None:
    """A new owner publishes all it has, and what is known of it need not be written again."""
    pane = Pane(spec(), 0)
    pane.replace(folded([Event(("a",)), Event(("b",))]).partials())
    pane.take_dirty()
    pane.replace(folded([Event(("a",)), Event(("b",)), Event(("b",))]).partials())
    dirty = pane.take_dirty()
    assert dirty is not None and dirty.keys == [("b",)]


def test_a_restored_pane_takes_rows_beyond_a_limit_that_was_lowered_since() -> None:
    pane = Pane(spec(max_series=1), 0)
    pane.replace(folded([Event((key,)) for key in "abc"]).partials())
    assert pane.keys == [("a",), ("b",), ("c",)]
    fold(pane, [Event(("d",))])
    assert pane.keys[-1] == (OTHER,)


def test_partials_of_other_columns_are_refused_and_change_nothing() -> None:
    pane = folded([Event(("a",))], spec(("count",), sketches=False))
    with pytest.raises(ValueError, match="do not fit"):
        pane.replace(folded([Event(("b",))]).partials())
    assert pane.keys == [("a",)]


@pytest.mark.parametrize("name", ["median", "sum"])
def test_a_column_that_is_not_kept_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        folded([], spec(("count",), sketches=False)).column(name)


def test_sketches_that_are_not_kept_are_a_key_error() -> None:
    pane = folded([Event(("a",))], spec(("count",), sketches=False))
    for read in (pane.bins, pane.registers):
        with pytest.raises(KeyError):
            read(np.array([0]))
    with pytest.raises(KeyError):
        pane.topk(0)
