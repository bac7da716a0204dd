"""Owns the tests of the set of metrics in force."""

import pytest

from analytics.core.definitions.catalog import EMPTY, Catalog
from analytics.core.definitions.metric import Metric, parse_metrics


def metrics(**values: str) -> tuple[Metric, ...]:
    window = {"size": "10s"}
    definitions = {name: {"value": path, "window": window} for name, path in values.items()}
    return parse_metrics({"metrics": definitions}, "metrics.yaml")


def test_metrics_are_found_by_name_and_by_key() -> None:
    first, second = metrics(first="data.a", second="data.b")
    catalog = Catalog((first, second))
    assert catalog.by_name == {"first": first, "second": second}
    assert catalog.by_key == {first.key: first, second.key: second}


def test_the_fields_are_those_of_every_metric() -> None:
    assert Catalog(metrics(a="data.x", b="data.y")).fields == {("data", "x"), ("data", "y")}
    assert EMPTY.fields == frozenset()


def test_two_metrics_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match="names of their own, got a twice"):
        Catalog(metrics(a="data.x") + metrics(a="data.y", b="data.z"))
