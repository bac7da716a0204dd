"""The parameters of GET /v1/metrics/{name} as a question."""

import pytest

from analytics.core.definitions.catalog import Catalog
from analytics.core.query.parameters import to_document
from analytics.core.query.request import QueryLimits, parse
from analytics.errors import QueryError
from tests.unit.query.held import S, metric


def test_without_parameters_the_last_quarter_of_an_hour_is_asked() -> None:
    assert to_document("delays", []) == {"metrics": ["delays"], "timeRange": {"last": "15m"}}


def test_every_parameter_has_its_place_in_the_document() -> None:
    document = to_document(
        "delays",
        [
            *(("from", "0"), ("to", "1970-01-01T00:01:00Z"), ("step", "10s")),
            *(("groupBy", "source, origin"), ("function", "count,p95")),
        ],
    )
    assert document == {
        "metrics": ["delays"],
        "timeRange": {"from": 0, "to": "1970-01-01T00:01:00Z"},
        "step": "10s",
        "groupBy": ["source", "origin"],
        "aggregations": ["count", "p95"],
    }
    assert parse(document, Catalog((metric(),)), 0, QueryLimits()).period.to_ms == 60 * S


def test_filters_of_one_dimension_are_alternatives_and_a_value_may_hold_an_equals_sign() -> None:
    given = [("filter", "source=UA"), ("filter", "origin=a=b"), ("filter", "source=AA")]
    assert to_document("delays", given)["filters"] == [
        {"field": "source", "op": "in", "value": ["UA", "AA"]},
        {"field": "origin", "op": "in", "value": ["a=b"]},
    ]


@pytest.mark.parametrize(
    ("parameters", "pointer", "message"),
    [
        ([("groupby", "source")], "/groupby", "did you mean 'groupBy'?"),
        ([("limit", "5")], "/limit", "unknown name 'limit'"),
        ([("step", "1m"), ("step", "2m")], "/step", "is given twice"),
        ([("filter", "source")], "/filter", "must be dimension=value"),
    ],
)
def test_wrong_parameters_are_refused(
    parameters: list[tuple[str, str]], pointer: str, message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        to_document("delays", parameters)
    [mistake] = caught.value.errors
    assert mistake.pointer == pointer
    assert message in mistake.message


def test_last_excludes_the_ends_of_a_range() -> None:
    document = to_document("delays", [("last", "5m"), ("from", "0")])
    with pytest.raises(QueryError, match="takes either last"):
        parse(document, Catalog((metric(),)), 0, QueryLimits())
