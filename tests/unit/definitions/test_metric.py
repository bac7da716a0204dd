"""Owns the tests of what a metric is and how it is read from a document."""

from typing import Any

import pytest

from analytics.core.definitions.metric import Dimension, Metric, Window, parse_metrics
from analytics.errors import ConfigError, Mistake

PURCHASES: dict[str, Any] = {
    "where": 'type == "purchase" and data.amount > 0',
    "value": "data.amount",
    "dimensions": ["source", {"country": "data.country"}],
    "aggregations": ["count", "sum", "p95"],
    "distinct": "data.user_id",
    "topk": {"field": "data.sku", "k": 5},
    "window": {"size": "10s", "grace": "30s"},
    "max_series": 1000,
}


def metric(**changes: object) -> Metric:
    """The metric of purchases with some keys changed, or absent where None."""
    definition = {key: value for key, value in (PURCHASES | changes).items() if value is not None}
    (parsed,) = parse_metrics({"metrics": {"purchases": definition}}, "metrics.yaml")
    return parsed


def mistakes(document: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_metrics(document, "metrics.yaml")
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_definition_is_read_into_a_metric() -> None:
    parsed = metric()
    assert (parsed.name, parsed.where_text) == ("purchases", PURCHASES["where"])
    assert parsed.value == ("data", "amount")
    assert parsed.dimensions == (
        Dimension("source", ("source",)),
        Dimension("country", ("data", "country")),
    )
    assert (parsed.distinct, parsed.topk) == (("data", "user_id"), ("data", "sku"))
    assert (parsed.topk_size, parsed.max_series) == (5, 1000)
    assert parsed.window == Window(10_000, 10_000, 30_000)


def test_what_is_left_out_has_its_default() -> None:
    (parsed,) = parse_metrics({"metrics": {"all": {"window": {"size": "10s"}}}}, "metrics.yaml")
    assert (parsed.where, parsed.where_text, parsed.value) == (None, "", None)
    assert (parsed.dimensions, parsed.aggregations) == ((), ("count",))
    assert (parsed.distinct, parsed.topk, parsed.topk_size) == (None, None, 10)
    assert parsed.window == Window(10_000, 10_000, 30_000)
    assert (parsed.retention_ms, parsed.max_series) == (86_400_000, 100_000)


@pytest.mark.parametrize("document", [None, {}, {"metrics": None}, {"metrics": {}}])
def test_a_document_without_metrics_declares_none(document: object) -> None:
    assert parse_metrics(document, "metrics.yaml") == ()


def test_metrics_keep_the_order_of_the_file() -> None:
    window = {"window": {"size": "1s"}}
    parsed = parse_metrics({"metrics": {"b": window, "a": window}}, "metrics.yaml")
    assert [one.name for one in parsed] == ["b", "a"]


def test_a_field_to_count_implies_its_aggregation() -> None:
    assert metric().aggregations == ("count", "sum", "p95", "distinct", "topk")
    listed = metric(aggregations=["topk", "distinct"], topk="data.sku")
    assert (listed.aggregations, listed.topk_size) == (("topk", "distinct"), 10)


def test_hopping_windows_are_merged_from_panes_of_their_advance() -> None:
    hopping = metric(window={"size": "1m", "advance": "10s", "grace": "0s"}).window
    assert (hopping, hopping.pane_ms) == (Window(60_000, 10_000, 0), 10_000)


def test_retention_covers_at_least_the_life_of_a_window() -> None:
    assert metric(window={"size": "7d", "grace": "1d"}).retention_ms == 8 * 86_400_000


@pytest.mark.parametrize(
    ("aggregations", "measures"),
    [
        (["count"], ("count",)),
        (["rate"], ("count",)),
        (["avg"], ("count", "values", "sum")),
        (["stddev", "sum"], ("count", "values", "sum", "sum_sq")),
        (["last", "max", "first", "min"], ("count", "min", "max", "first", "last")),
        (["p50"], ("count",)),
    ],
)
def test_a_metric_stores_only_the_measures_it_needs(
    aggregations: list[str], measures: tuple[str, ...]
) -> None:
    assert metric(aggregations=aggregations).measures == measures


def test_a_metric_stores_only_the_sketches_it_needs() -> None:
    sketched = metric()
    assert (sketched.has_bins, sketched.has_registers, sketched.has_topk) == (True, True, True)
    bare = metric(aggregations=["sum"], distinct=None, topk=None)
    assert (bare.has_bins, bare.has_registers, bare.has_topk) == (False, False, False)


def test_the_fields_are_all_that_folding_an_event_looks_at() -> None:
    data = {("data", name) for name in ("amount", "country", "user_id", "sku")}
    assert metric().fields == {("type",), ("source",), *data}


def test_the_key_is_the_name_and_a_version() -> None:
    name, version = metric().key.split("@")
    assert (name, version, len(version)) == ("purchases", metric().version, 8)
    # Pinned, because a change of this text would abandon everything that is stored.
    assert metric().key == "purchases@26eddfd2"


@pytest.mark.parametrize(
    "change",
    [
        {"where": 'type == "refund"'},
        {"where": None},
        {"value": "data.total"},
        {"dimensions": ["source"]},
        {"dimensions": [{"country": "data.country"}, "source"]},
        {"dimensions": ["source", {"land": "data.country"}]},
        {"distinct": "data.session"},
        {"topk": "data.brand"},
        {"window": {"size": "20s"}},
        {"window": {"size": "10s", "advance": "5s"}},
        {"aggregations": ["count", "sum", "p95", "min"]},
        {"aggregations": ["count", "sum"]},
    ],
)
def test_a_change_of_what_is_stored_changes_the_version(change: dict[str, object]) -> None:
    assert metric(**change).version != metric().version


@pytest.mark.parametrize(
    "change",
    [
        {"retention": "7d"},
        {"max_series": 5},
        {"window": {"size": "10s", "grace": "1h"}},
        {"topk": {"field": "data.sku", "k": 50}},
        {"where": "(type=='purchase') and data.amount > 0.0"},
        {"aggregations": ["p50", "avg", "rate"]},
    ],
)
def test_a_change_of_anything_else_keeps_the_version(change: dict[str, object]) -> None:
    assert metric(**change).version == metric().version


def test_every_mistake_is_reported_at_once() -> None:
    document = {
        "metrics": {
            "Purchases": {"windw": 1, "value": "amount", "aggregations": ["sum", "p100", "cuont"]},
            "good": {"window": {"size": "1s"}},
            "late": {"window": {"size": "10 parsecs", "advance": 5}, "dimensions": ["x", "data"]},
        },
        "metric": {},
    }
    assert [line.partition(": ")[2].partition(": ")[0] for line in mistakes(document)] == [
        "metric",
        "metrics.Purchases",
        "metrics.Purchases.value",
        "metrics.Purchases.aggregations[1]",
        "metrics.Purchases.aggregations[2]",
        "metrics.Purchases.window",
        "metrics.Purchases.windw",
        "metrics.late.dimensions[0]",
        "metrics.late.dimensions[1]",
        "metrics.late.window.size",
        "metrics.late.window.advance",
    ]


def test_a_mistake_names_file_path_rule_and_value() -> None:
    document = {"metrics": {"purchases": {"window": {"size": "10 parsecs"}}}}
    assert mistakes(document) == [
        "metrics.yaml: metrics.purchases.window.size: must be a duration such as 10s,"
        " got '10 parsecs'"
    ]


def test_a_mistake_about_a_long_value_stays_short() -> None:
    mistake = Mistake("metrics.yaml", "metrics", "must be a mapping", ["x" * 10_000] * 10_000)
    assert len(str(mistake)) < 1_000


def test_a_document_holds_at_most_1000_metrics() -> None:
    window = {"window": {"size": "1s"}}
    document = {"metrics": {f"m{number}": window for number in range(1_001)}}
    assert mistakes(document) == ["metrics.yaml: metrics: must hold at most 1000 metrics, got 1001"]
