"""Sketches against exact answers: the errors they promise, over values, sizes and seeds."""

import math
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from analytics.core.aggregates import distinct, quantiles, topk

FINITE = st.floats(allow_nan=False, allow_infinity=False)
EVERYDAY = st.floats(-1e6, 1e6)
TINY = st.floats(-1e-9, 1e-9)
QS = st.lists(st.floats(0, 1), min_size=1, max_size=4)


def lower_quantile(values: list[float], q: float) -> float:
    """The exact quantile by the same rank: floor(q (n - 1)) in rising order."""
    return sorted(values)[math.floor(q * (len(values) - 1))]


def assert_within_alpha(estimate: float, exact: float) -> None:
    if abs(exact) < quantiles.MAGNITUDE_MIN:
        assert estimate == 0
    else:
        assert math.isfinite(estimate)
        assert abs(estimate / exact - 1) <= quantiles.ALPHA + 1e-9


@given(st.lists(FINITE | EVERYDAY | TINY, min_size=1, max_size=50), QS)
@example([1.7976931348623157e308, -1.7976931348623157e308, 5e-324], [0.0, 1.0])
@example([1e-12, -1e-12, 9.99e-13, 0.0, -0.0], [0.0, 0.25, 0.5, 0.75, 1.0])
def test_a_quantile_is_within_one_percent_of_the_exact_one(
    values: list[float], qs: list[float]
) -> None:
    items = quantiles.bins(np.array(values))
    for q in qs:
        estimate = quantiles.quantile(items, np.ones(len(values), np.int64), q)
        assert_within_alpha(estimate, lower_quantile(values, q))


@given(st.lists(st.lists(EVERYDAY, max_size=20), min_size=1, max_size=6), QS, st.randoms())
def test_many_sketches_at_once_give_what_each_gives_alone(
    sketches: list[list[float]], qs: list[float], random: Random
) -> None:
    flat = [(group, value) for group, values in enumerate(sketches) for value in values]
    random.shuffle(flat)
    groups = np.array([group for group, _ in flat], np.intp)
    items = quantiles.bins(np.array([value for _, value in flat], np.float64))
    found = quantiles.quantiles(groups, items, np.ones(len(flat), np.int64), len(sketches), qs)
    for group, values in enumerate(sketches):
        if not values:
            assert np.isnan(found[group]).all()
        for column, q in enumerate(qs if values else []):
            assert_within_alpha(found[group, column], lower_quantile(values, q))


@given(st.lists(FINITE | TINY, min_size=2, max_size=50))
def test_bins_rise_with_the_value_and_mirror_its_sign(values: list[float]) -> None:
    values = sorted(values)
    items = quantiles.bins(np.array(values))
    assert (np.diff(items) >= 0).all()
    assert (quantiles.bins(-np.array(values)) == -items).all()
    assert ((items > 0) == (np.array(values) >= quantiles.MAGNITUDE_MIN)).all()


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=30))
def test_registers_follow_the_definition_bit_by_bit(texts: list[str]) -> None:
    items, ranks = distinct.registers(texts)
    for text, item, rank in zip(texts, items.tolist(), ranks.tolist(), strict=True):
        bits = f"{xxh3_64_intdigest(text.encode()):064b}"
        assert item == int(bits[:13], 2)
        assert rank == (bits[13:] + "1").index("1") + 1


def estimate(texts: list[str]) -> float:
    items, ranks = distinct.registers(texts)
    return float(distinct.estimates(np.zeros(len(texts), np.intp), items, ranks, 1)[0])


@pytest.mark.parametrize(("n", "seeds"), [(1_000, 100), (10_000, 60), (40_000, 30)])
def test_the_standard_error_of_distinct_is_below_1_7_percent(n: int, seeds: int) -> None:
    errors = np.array(
        [estimate([f"{seed}/{i}" for i in range(n)]) / n - 1 for seed in range(seeds)]
    )
    assert np.sqrt(np.mean(errors**2)) <= 0.017
    assert abs(errors.mean()) <= 4 * 0.0115 / math.sqrt(seeds)  # and it is unbiased


def test_small_numbers_of_distinct_texts_are_exact_to_one() -> None:
    for seed in range(20):
        for n in (0, 1, 2, 3, 5, 10, 20, 30):
            texts = [f"user-{seed}-{i % max(n, 1)}" for i in range(n * 3)]
            assert abs(estimate(texts) - n) <= 1


@pytest.mark.parametrize("n", [50, 75, 100])
def test_around_a_hundred_distinct_texts_most_estimates_are_exact_to_one(n: int) -> None:
    # Two of n texts share one of 8,192 registers n**2 / 16,384 times on average: 0.6 for 100.
    errors = [estimate([f"{seed}/{i}" for i in range(n)]) - n for seed in range(200)]
    assert np.sqrt(np.mean(np.square(errors))) <= 1
    assert np.mean(np.abs(errors) <= 1.05) >= 0.8


@given(st.lists(st.lists(st.integers(0, 50).map(str), max_size=60), min_size=1, max_size=5))
def test_many_registers_at_once_estimate_what_each_does_alone(sketches: list[list[str]]) -> None:
    flat = [text for texts in sketches for text in texts]
    groups = np.repeat(np.arange(len(sketches)), [len(texts) for texts in sketches])
    found = distinct.estimates(groups, *distinct.registers(flat), len(sketches))
    assert found.tolist() == [estimate(texts) for texts in sketches]


@given(st.lists(st.integers(0, 2_000).map(lambda i: str(int(i**0.7))), max_size=1_500))
def test_a_counter_falls_short_by_at_most_n_over_capacity(texts: list[str]) -> None:
    counters: list[topk.Counters] = [{}]
    topk.fold(counters, [0] * len(texts), texts)
    exact = Counter(texts)
    assert len(counters[0]) <= topk.COUNTERS_MAX
    for text, count in exact.items():
        held = counters[0].get(text, 0)
        assert count - len(texts) / (topk.CAPACITY + 1) <= held <= count
