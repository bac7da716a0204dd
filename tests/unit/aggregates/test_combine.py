"""The merge of rows into groups: what comes out, and what nan says."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from analytics.core.aggregates.combine import Combined, merge
from analytics.core.aggregates.pane import Pane
from tests.unit.aggregates.panes import Event, folded, spec


def into_one(panes: Sequence[Pane]) -> Combined:
    """Every row of every pane in group 0, and a group 1 that gets none."""
    return merge([(pane, np.arange(pane.n), np.zeros(pane.n, np.intp)) for pane in panes], 2)


def test_rows_of_panes_merge_into_their_groups() -> None:
    one = folded([Event(("a",), 1, 1.0), Event(("b",), 2, 2.0), Event(("c",), 3, 30.0)])
    two = folded([Event(("b",), 4, 5.0)])
    only = np.array([0])
    result = merge([(one, np.array([0, 2]), np.array([0, 1])), (two, only, only)], 2)
    assert result.count.tolist() == [2, 1]
    assert result.sum.tolist() == [6.0, 30.0]
    assert result.avg.tolist() == [3.0, 30.0]
    assert result.min.tolist() == [1.0, 30.0]
    assert result.max.tolist() == [5.0, 30.0]
    assert result.stddev.tolist() == [2.0, 0.0]


def test_a_group_without_values_has_a_count_of_zero_and_no_numbers() -> None:
    result = into_one([folded([Event(("a",), 1, 1.0, "x")])])
    numbers = (result.sum, result.avg, result.stddev, result.min, result.max, result.first)
    assert all(math.isnan(column[1]) for column in numbers)
    assert math.isnan(result.quantiles([0.5])[1, 0])
    assert (result.count[1], result.values[1], result.distinct[1]) == (0, 0, 0)
    assert result.topk(3)[1] == []


def test_first_and_last_are_by_time_across_panes() -> None:
    # pane a      1 ........ 9
    # pane b   0 ..... 5
    result = into_one(
        [
            folded([Event(("a",), 1, 1.0), Event(("a",), 9, 9.0)]),
            folded([Event(("a",), 0, 0.5), Event(("a",), 5, 5.0)]),
        ]
    )
    assert (result.first[0], result.last[0]) == (0.5, 9.0)


def test_between_partitions_a_tie_is_broken_by_value_in_either_order() -> None:
    panes = [folded([Event(("a",), 7, value)]) for value in (1.0, 2.0)]
    for order in (panes, panes[::-1]):
        assert (into_one(order).first[0], into_one(order).last[0]) == (1.0, 2.0)


def test_quantiles_and_distinct_are_of_all_rows_together() -> None:
    panes = [
        folded([Event((f"k{i % 7}",), i, float(i), f"t{i % 50}") for i in range(first, last)])
        for first, last in ((1, 500), (500, 1000))
    ]
    result = into_one(panes)
    np.testing.assert_allclose(result.quantiles([0.5, 0.99])[0], [500, 989], rtol=0.01)
    assert result.distinct[0] == pytest.approx(50, abs=1)


def test_top_texts_add_up_over_rows() -> None:
    one = folded([Event(("a",), 0, None, text) for text in "xxy"])
    two = folded([Event(("b",), 0, None, text) for text in "yyyz"])
    assert into_one([one, two]).topk(2)[0] == [("y", 4), ("x", 2)]


def test_what_the_panes_do_not_keep_is_a_key_error() -> None:
    result = into_one([folded([Event(("a",))], spec(("count",), sketches=False))])
    assert result.count.tolist() == [1, 0]
    for name in ("sum", "avg", "stddev", "min", "first", "distinct"):
        with pytest.raises(KeyError):
            getattr(result, name)
    with pytest.raises(KeyError):
        result.quantiles([0.5])
    with pytest.raises(KeyError):
        result.topk(1)


def test_no_panes_merge_to_empty_groups() -> None:
    result = merge([], 1)
    assert result.count.tolist() == [0]
    assert math.isnan(result.avg[0])
    assert math.isnan(result.quantiles([0.5])[0, 0])
    with pytest.raises(ValueError, match="no panes"):
        result.partials("m@1", 0, [()])


def test_merged_partials_are_a_pane_again() -> None:
    one = folded([Event(("a",), 1, 1.0, "x")], spec(max_series=1))
    two = folded([Event(("a",), 2, 2.0, "y"), Event(("b",), 3, 3.0, "z")], spec(max_series=1))
    pane = Pane(spec(), 0)
    pane.replace(into_one([one, two]).partials("m@1", 0, [("all",), ("none",)]))
    expected = folded([Event(("all",), i, float(i), "xyz"[i - 1]) for i in (1, 2, 3)])
    assert pane.column("sum")[0] == 6.0
    assert pane.topk(0) == expected.topk(0)
    assert [part.tolist() for part in pane.bins(np.array([0]))] == [
        part.tolist() for part in expected.bins(np.array([0]))
    ]
    assert pane.overflowed == 1


def test_a_deviation_beyond_float64_is_unknown_and_warns_nobody() -> None:
    assert math.isnan(into_one([folded([Event(("a",), 1, 1e200)])]).stddev[0])
