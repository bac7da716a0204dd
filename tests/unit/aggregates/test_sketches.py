"""Single facts of the sketches: edges, names of bins and registers, order of ties."""

import math

import numpy as np
import pytest

from analytics.core.aggregates import distinct, quantiles, topk


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0), (-0.0, 0), (9.9e-13, 0), (1e-12, 1), (-1e-12, -1), (1.0, 1382), (5e-324, 0)],
)
def test_bins_of_the_edges(value: float, expected: int) -> None:
    # SQL functions outside this package turn bins into numbers, so bins must not move.
    assert quantiles.bins(np.array([value])).tolist() == [expected]


def test_the_greatest_floats_have_bins_and_finite_values() -> None:
    greatest = float(np.finfo(np.float64).max)
    items = quantiles.bins(np.array([greatest, -greatest]))
    assert items.tolist() == [36_870, -36_870]
    assert np.isfinite(quantiles.values_of(items)).all()


def test_a_bin_stands_for_a_value_of_its_own() -> None:
    items = np.arange(-36_870, 36_871, dtype=np.int32)
    values = quantiles.values_of(items)
    assert (np.diff(values) > 0).all()
    inner = items[1:-1]
    assert (quantiles.bins(quantiles.values_of(inner)) == inner).all()
    assert quantiles.value_of(1382) == pytest.approx(1 - quantiles.ALPHA)


def test_the_quantile_of_nothing_is_nan() -> None:
    assert math.isnan(quantiles.quantile(np.zeros(0, np.int32), np.zeros(0, np.int64), 0.5))


def test_counts_weigh_bins() -> None:
    items, counts = quantiles.bins(np.array([1.0, 100.0])), np.array([99, 1])
    assert quantiles.quantile(items, counts, 0.98) == pytest.approx(1, rel=0.01)
    assert quantiles.quantile(items, counts, 1.0) == pytest.approx(100, rel=0.01)


def test_registers_of_known_texts_do_not_move() -> None:
    items, ranks = distinct.registers(["", "user-1", "ü"])
    assert (items.tolist(), ranks.tolist()) == ([1440, 3982, 2997], [1, 1, 7])


def test_no_registers_are_no_distinct_texts() -> None:
    nothing = np.zeros(0, np.int64)
    assert distinct.estimates(nothing, nothing, nothing, 2).tolist() == [0.0, 0.0]


def test_full_registers_still_give_a_finite_estimate() -> None:
    items = np.arange(distinct.REGISTERS)
    groups = np.zeros_like(items)
    full = np.full_like(items, distinct.RANK_MAX)
    assert distinct.estimates(groups, items, full - 1, 1)[0] > 1e18


def test_up_to_the_capacity_counts_are_exact() -> None:
    counters: list[topk.Counters] = [{}, {}]
    topk.fold(counters, [0, 1, 0, 0], ["x", "x", "y", "x"])
    assert counters == [{"x": 2, "y": 1}, {"x": 1}]


def test_the_empty_text_is_not_counted() -> None:
    counters: list[topk.Counters] = [{}]
    topk.fold(counters, [0], [""])
    assert counters == [{}]


def test_pruning_takes_the_count_after_the_last_that_fits_off_all() -> None:
    counters = {f"t{i}": i for i in range(topk.CAPACITY + 10)}
    assert topk.pruned(counters) == {f"t{i}": i - 9 for i in range(10, topk.CAPACITY + 10)}


def test_texts_that_tie_for_the_last_counter_all_go() -> None:
    counters = {f"t{i}": 1 for i in range(topk.CAPACITY + 1)}
    assert topk.pruned(counters | {"often": 5}) == {"often": 4}


def test_of_equal_counts_the_first_text_comes_first() -> None:
    assert topk.greatest({"b": 2, "a": 2, "c": 3, "d": 1}, 3) == [("c", 3), ("a", 2), ("b", 2)]
