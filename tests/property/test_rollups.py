"""What is merged ahead never shows in an answer, whatever happens between two questions."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from analytics.core.live.metric import LiveMetric
from analytics.core.query.execute import execute
from analytics.core.query.rollups import Rollups
from analytics.core.watermark import SourceProgress
from tests.unit.query.held import Row, S, metric, panes, question

METRIC = metric(retention="1m")
SOURCES = 2
FUNCTIONS = ("count", "sum", "min", "max", "first", "last", "distinct", "topk", "p50", "p95")
UNTIL = 200 * S

# Whole numbers, so that sums are exact in whatever order they are made.
VALUES = st.none() | st.integers(-9, 9).map(float)
GROUPINGS: tuple[dict[str, Any], ...] = (
    {},
    {"groupBy": ["source"]},
    {"groupBy": ["origin", "source"]},
    {"groupBy": ["source"], "filters": [{"field": "origin", "op": "ne", "value": "JFK"}]},
    {"filters": [{"field": "source", "op": "in", "value": ["UA", "none"]}]},
)


class Machine(RuleBasedStateMachine):
    """Events come to two partitions, some late; the same few questions are asked all along."""

    def __init__(self) -> None:
        super().__init__()
        self.live = LiveMetric(METRIC)
        self.events: list[list[Row]] = [[] for _ in range(SOURCES)]
        self.seconds = [0] * SOURCES

    @initialize(bytes_max=st.sampled_from([0, 20_000, 10_000_000]))
    def begin(self, bytes_max: int) -> None:
        self.rollups, self.bytes_max = Rollups(bytes_max), bytes_max

    @rule(
        source=st.integers(0, SOURCES - 1),
        back=st.sampled_from([0, 0, 5, 30]),
        carrier=st.sampled_from(["UA", "AA", "DL"]),
        origin=st.sampled_from(["JFK", "LGA"]),
        value=VALUES,
    )
    def read(self, source: int, back: int, carrier: str, origin: str, value: float | None) -> None:
        at = max(0, self.seconds[source] - back) * S
        self.events[source].append((at, carrier, origin, value))
        for pane in panes(METRIC, self.events[source]).values():
            self.live.apply(source, pane.partials())

    @rule(source=st.integers(0, SOURCES - 1), seconds=st.sampled_from([1, 10, 25]))
    def go_on(self, source: int, seconds: int) -> None:
        self.seconds[source] += seconds
        self.live.report(source, SourceProgress(self.seconds[source] * S, idle=False))

    @rule()
    def flush(self) -> None:
        self.live.evict(SOURCES)

    @precondition(lambda self: self.live.panes)
    @rule(
        grouping=st.sampled_from(GROUPINGS),
        step=st.sampled_from([None, "10s", "20s"]),
        functions=st.sampled_from([FUNCTIONS, ("count",), ("p95",)]),
        times=st.integers(1, 5),
    )
    def ask(
        self, grouping: dict[str, Any], step: str | None, functions: tuple[str, ...], times: int
    ) -> None:
        query = question(METRIC, *functions, span=(0, UNTIL), step=step, **grouping)
        expected = execute(query, METRIC.name, self.live, 0, SOURCES)
        for _ in range(times):
            answer = execute(query, METRIC.name, self.live, 0, SOURCES, self.rollups)
            assert list(answer.rows()) == list(expected.rows())
            assert answer.buckets == expected.buckets
            assert self.rollups.bytes <= self.bytes_max


TestRollups = Machine.TestCase
TestRollups.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
