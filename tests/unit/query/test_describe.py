"""The description of a metric."""

import json

from analytics.core.query.describe import describe
from tests.unit.query.held import S, live, metric


def test_a_metric_that_is_held_is_described_with_what_is_held_of_it() -> None:
    held = live(metric(), {0: [(0, "UA", "JFK", 1.0), (0, "AA", "JFK", 1.0)]}, 20 * S)
    held.late[0] = 4
    described = describe(held.metric, held, sources=1)
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == "delays"
    assert described["dimensions"] == [
        {"name": "source", "field": "source"},
        {"name": "origin", "field": "data.origin"},
    ]
    assert described["window"] == {"size_ms": 10_000, "advance_ms": 10_000, "grace_ms": 30_000}
    assert described["series"] == 2
    assert described["watermark"] == 20 * S
    assert described["late_events"] == 4


def test_of_a_metric_that_is_not_held_only_the_definition_is_known() -> None:
    described = describe(
        metric(where='type == "departure"', value=None, aggregations=None), None, 8
    )
    assert described["where"] == 'type == "departure"'
    assert described["value"] is None
    assert described["aggregations"] == ["count", "distinct", "topk"]
    assert described["functions"] == ["count", "distinct", "topk", "rate"]
    assert described["series"] is None
    assert described["watermark"] is None
    assert described["late_events"] is None
