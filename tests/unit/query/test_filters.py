"""Filters on the texts of a dimension."""

import pytest

from analytics.core.events.columns import Columns
from analytics.core.query.filters import Filter
from analytics.errors import QueryError
from tests.unit.query.held import metric, question

LABELS = ["", "9", "10", "-1.5e1", "UA", "UAL", "true"]


def parsed(op: str, value: object) -> Filter:
    document = [{"field": "origin", "op": op, "value": value}]
    return question(metric(), filters=document).filters[0]


@pytest.mark.parametrize(
    ("op", "value", "accepted"),
    [
        ("eq", "UA", ["UA"]),
        ("eq", 9, ["9"]),
        ("eq", True, ["true"]),
        ("eq", None, [""]),
        ("ne", "UA", ["", "9", "10", "-1.5e1", "UAL", "true"]),
        ("in", ["UA", 10], ["10", "UA"]),
        ("not_in", ["UA", "UAL", "true", ""], ["9", "10", "-1.5e1"]),
        ("gt", 9, ["10"]),
        ("ge", "9", ["9", "10"]),
        ("lt", 9.5, ["9", "-1.5e1"]),
        ("le", "-15", ["-1.5e1"]),
        ("gt", "UA", ["UAL", "true"]),
        ("startswith", "UA", ["UA", "UAL"]),
        ("exists", None, ["9", "10", "-1.5e1", "UA", "UAL", "true"]),
        ("exists", False, [""]),
    ],
)
def test_an_operator_accepts_these_texts(op: str, value: object, accepted: list[str]) -> None:
    test = parsed(op, value)
    assert [text for text, passes in zip(LABELS, test.accepts(LABELS), strict=True) if passes] == (
        accepted
    )


@pytest.mark.parametrize("value", [1, 1.5, -0.0, 1e300, 123456789012345678, True, False, "x" * 300])
def test_a_value_means_the_text_that_an_event_with_it_gets(value: object) -> None:
    event = {"timestamp": 0, "data": {"origin": value}}
    texts = Columns.from_rows([event]).strings(("data", "origin"))
    assert parsed("eq", value).accepts(texts).all()


def test_a_filter_is_read_back_from_its_document() -> None:
    for op, value in (("in", ["a", "b"]), ("gt", "5"), ("exists", None), ("startswith", "a")):
        test = parsed(op, value)
        assert question(metric(), filters=[test.document()]).filters == (test,)


@pytest.mark.parametrize(
    ("filters", "pointer", "message"),
    [
        ({}, "/filters", "must be a list"),
        ([{"field": "origin"}] * 51, "/filters", "at most 50 filters, got 51"),
        (["origin"], "/filters/0", "must be an object"),
        ([{"field": "orign", "value": "x"}], "/filters/0/field", "did you mean 'origin'?"),
        ([{"field": "origin", "op": "eqs"}], "/filters/0/op", "did you mean 'eq'?"),
        ([{"field": "origin", "op": "in", "value": "x"}], "/filters/0/value", "takes a list"),
        ([{"field": "origin", "op": "in", "value": []}], "/filters/0/value", "takes a list"),
        ([{"field": "origin", "op": "gt", "value": ""}], "/filters/0/value", "gt takes"),
        ([{"field": "origin", "op": "eq", "value": [1]}], "/filters/0/value", "must be a text"),
        ([{"field": "origin", "op": "eq", "value": 2**70}], "/filters/0/value", "must be a text"),
        ([{"field": "origin", "op": "exists", "value": "x"}], "/filters/0/value", "takes true"),
        ([{"field": "origin", "vlaue": "x"}], "/filters/0/vlaue", "did you mean 'value'?"),
    ],
)
def test_a_wrong_filter_is_refused_at_its_place(
    filters: object, pointer: str, message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        question(metric(), filters=filters)
    assert [(each.pointer, message in each.message) for each in caught.value.errors][0] == (
        pointer,
        True,
    )
