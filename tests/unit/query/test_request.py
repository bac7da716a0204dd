"""The document of POST /v1/query and its refusals."""

import pytest

from analytics.core.definitions.catalog import EMPTY, Catalog
from analytics.core.query.request import Order, QueryLimits, parse
from analytics.errors import QueryError
from tests.unit.query.held import S, metric, question

CATALOG = Catalog(
    (
        metric(),
        metric("arrivals", dimensions=["source"], aggregations=["count"], distinct=None, topk=None),
    )
)


def mistakes(document: object) -> dict[str, str]:
    with pytest.raises(QueryError) as caught:
        parse(document, CATALOG, 60 * S, QueryLimits())
    assert caught.value.status == 422
    return {each.pointer: each.message for each in caught.value.errors}


def valid(**changes: object) -> dict[str, object]:
    return {"metrics": ["delays"], "timeRange": {"last": "1m"}} | changes


def test_the_example_of_the_interface_is_understood() -> None:
    query = parse(
        {
            "metrics": ["delays"],
            "aggregations": ["count", "p95"],
            "filters": [{"field": "source", "op": "in", "value": ["UA", "AA"]}],
            "groupBy": ["source"],
            "timeRange": {"from": "2026-11-24T00:00:00Z", "to": "2026-11-24T01:00:00Z"},
            "step": "1m",
            "orderBy": [{"field": "delays.count", "direction": "desc"}],
            "limit": 100,
        },
        CATALOG,
        0,
        QueryLimits(),
    )
    assert query.functions == (("count", "p95"),)
    assert query.group_by == ("source",)
    assert query.period.count == 60
    assert query.order_by == (Order("delays.count", descending=True),)
    assert query.rows_max == 100


def test_without_aggregations_each_metric_answers_what_it_declares() -> None:
    query = parse(valid(metrics=["arrivals", "delays"]), CATALOG, 60 * S, QueryLimits())
    assert query.functions == (("count",), CATALOG.metrics[0].aggregations)


def test_functions_that_are_not_declared_can_be_asked_where_the_numbers_are_stored() -> None:
    few = metric(aggregations=["stddev", "p50"], distinct=None, topk=None)
    query = question(few, "count", "rate", "sum", "avg", "p99.9")
    assert query.functions == (("count", "rate", "sum", "avg", "p99.9"),)


def test_every_mistake_is_reported_at_once() -> None:
    wrong = valid(
        metrics=["delays", "dellays"],
        aggregations=["cuont", "p0"],
        groupBy="source",
        filter=[],
        timeRange={"last": "soon"},
        orderBy=[{"field": "x", "direction": "up"}],
        limit=0,
    )
    assert mistakes(wrong).keys() == {
        *("/metrics/1", "/aggregations/0", "/aggregations/1", "/groupBy", "/filter"),
        *("/timeRange/last", "/orderBy/0/field", "/orderBy/0/direction", "/limit"),
    }


def test_a_misspelt_metric_does_not_make_its_dimensions_look_wrong() -> None:
    wrong = valid(metrics=["dellays"], groupBy=["origin"], aggregations=["median"])
    assert mistakes(wrong).keys() == {"/metrics/0", "/aggregations/0"}


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"metrics": ["dellays"]}, "/metrics/0", "did you mean 'delays'?"),
        ({"metrics": []}, "/metrics", "at least one"),
        ({"metrics": None}, "/metrics", "must be a list"),
        ({"metrics": ["delays", 5]}, "/metrics/1", "must be a name, got 5"),
        ({"metrics": ["delays", "delays"]}, "/metrics/1", "named twice"),
        ({"metrics": [f"m{i}" for i in range(21)]}, "/metrics", "at most 20 names, got 21"),
        ({"aggregations": ["medain"]}, "/aggregations/0", "unknown function 'medain'"),
        ({"aggregations": ["averge"]}, "/aggregations/0", "did you mean"),
        ({"aggregations": ["p100"]}, "/aggregations/0", "below p100, got 'p100'"),
        ({"aggregations": []}, "/aggregations", "or be left out"),
        ({"groupBy": ["orign"]}, "/groupBy/0", "did you mean 'origin'?"),
        ({"orderBy": [{"field": "count"}]}, "/orderBy/0/field", "unknown column 'count'"),
        ({"orderBy": [{"field": "delays.topk"}]}, "/orderBy/0/field", "unknown column"),
        ({"orderBy": ["timestamp"]}, "/orderBy/0", "must be an object"),
        ({"limit": 100_001}, "/limit", "from 1 to 100000, got 100001"),
        ({"limit": True}, "/limit", "must be a whole number"),
        ({"a/b~": 1}, "/a~1b~0", "unknown name"),
    ],
)
def test_a_wrong_part_is_refused_with_its_rule(
    changes: dict[str, object], pointer: str, message: str
) -> None:
    assert message in mistakes(valid(**changes))[pointer]


def test_a_function_must_be_answerable_by_every_metric() -> None:
    found = mistakes(valid(metrics=["delays", "arrivals"], aggregations=["count", "p95"]))
    assert found["/aggregations/1"].startswith("'arrivals' does not store what p95 needs")


def test_a_dimension_must_belong_to_every_metric() -> None:
    found = mistakes(valid(metrics=["delays", "arrivals"], groupBy=["origin"]))
    assert "unknown dimension 'origin'" in found["/groupBy/0"]


@pytest.mark.parametrize("document", [None, [], "delays", 5, {}])
def test_anything_that_is_no_question_is_refused(document: object) -> None:
    with pytest.raises(QueryError):
        parse(document, EMPTY, 0, QueryLimits())


def test_the_part_of_a_metric_asks_the_same_of_it_alone() -> None:
    both = question(
        CATALOG.metrics,
        "count",
        span=(5 * S, 55 * S),
        filters=[{"field": "source", "op": "ne", "value": "UA"}],
        groupBy=["source"],
        step="10s",
        orderBy=[{"field": "arrivals.count"}],
        limit=5,
    )
    part = parse(both.part("arrivals"), CATALOG, 0, QueryLimits())
    assert part.metrics == (CATALOG.by_name["arrivals"],)
    assert (part.period, part.filters, part.group_by) == (both.period, both.filters, both.group_by)
    assert (part.order_by, part.limit) == ((), None)


def test_equal_questions_are_equal_values() -> None:
    assert hash(question(CATALOG.metrics[0], "count")) == hash(question(metric(), "count"))
    assert question(metric(), "count") == question(metric(), "count")
    assert question(metric(), "count") != question(metric(), "sum")
