"""Owns the tests of the names of aggregations."""

import pytest

from analytics.core.definitions.aggregation import Needs, needs, quantile_of


@pytest.mark.parametrize(
    ("name", "quantile"),
    [("p50", 0.5), ("p5", 0.05), ("p99", 0.99), ("p99.9", 0.999), ("p0.1", 0.001)],
)
def test_a_percentile_is_exactly_the_quantile_it_says(name: str, quantile: float) -> None:
    assert quantile_of(name) == quantile


@pytest.mark.parametrize("name", ["p0", "p100", "p0.0", "p1000", "p99.99999999999999999999"])
def test_a_percentile_lies_between_the_ends(name: str) -> None:
    with pytest.raises(ValueError, match="above p0 and below p100"):
        quantile_of(name)


@pytest.mark.parametrize("name", ["p05", "p99.0", "p99.90", "p00.1"])
def test_a_percentile_has_one_spelling(name: str) -> None:
    with pytest.raises(ValueError, match="without needless zeros"):
        quantile_of(name)


@pytest.mark.parametrize("name", ["", "p", "pp", "p-5", "p1e1", "p5 ", "P50", "percentile"])
def test_what_is_no_percentile_has_no_quantile(name: str) -> None:
    assert quantile_of(name) is None
    assert needs(name) is None


def test_an_aggregation_knows_what_must_be_stored_for_it() -> None:
    assert needs("count") == Needs()
    assert needs("stddev") == Needs(("values", "sum", "sum_sq"), value=True)
    assert needs("p95") == Needs(value=True)
