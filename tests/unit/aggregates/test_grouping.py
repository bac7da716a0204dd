"""From events to panes: which pane an event is folded into, and when it comes too late for it."""

import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from analytics.core import watermark
from analytics.core.aggregates.grouping import Selection, Selections, fold
from analytics.core.aggregates.keys import KeyIndex
from analytics.core.aggregates.pane import Pane, PaneSpec
from analytics.core.definitions.metric import Metric, parse_metrics
from analytics.core.events.columns import Columns
from analytics.core.watermark import NO_WATERMARK

Rows = Sequence[Mapping[str, object]]


def metric(**definition: object) -> Metric:
    """A metric with these parts beside or instead of the usual ones; None leaves one out."""
    base: dict[str, object] = {
        "window": {"size": "10s", "grace": "5s"},
        "dimensions": ["source"],
        "value": "data.amount",
        "aggregations": ["count", "sum"],
    }
    given = {name: value for name, value in (base | definition).items() if value is not None}
    return parse_metrics({"metrics": {"purchases": given}}, "metrics.yaml")[0]


def event(
    second: float, source: str = "a", kind: str = "purchase", **data: object
) -> dict[str, object]:
    timestamp = int(second * 1000)
    return {"id": "1", "timestamp": timestamp, "type": kind, "source": source, "data": data}


class Panes:
    """Panes of a metric, opened on demand."""

    def __init__(self, of: Metric) -> None:
        self.metric = of
        self.held: dict[int, Pane] = {}
        self.keys = KeyIndex()

    def open(self, start_ms: int) -> Pane:
        if start_ms not in self.held:
            spec = PaneSpec.of(self.metric)
            self.held[start_ms] = Pane(spec, start_ms, self.metric.key, self.keys)
        return self.held[start_ms]

    def fold(self, rows: Rows, watermarks: object = NO_WATERMARK) -> Selection:
        marks = np.array(watermarks, np.int64) if isinstance(watermarks, list) else watermarks
        assert isinstance(marks, int | np.ndarray)
        selections = Selections(Columns.from_rows(rows), marks)
        selection = selections.of(self.metric)
        ids = selections.ids(self.metric, selection, self.keys)
        fold(self.metric, selection, ids, self.open)
        return selection

    def counts(self) -> dict[tuple[int, str], int]:
        """(second of the pane, series) -> count."""
        return {
            (start_ms // 1000, "/".join(key)): count
            for start_ms, pane in sorted(self.held.items())
            for key, count in zip(pane.keys, pane.column("count").tolist(), strict=True)
        }


def test_an_event_is_folded_into_the_pane_that_holds_its_time() -> None:
    # 0         10        20
    # [---------)[--------)
    # a        b c        d
    panes = Panes(metric())
    result = panes.fold([event(0, "a"), event(9.999, "b"), event(10, "c"), event(20, "d")])
    assert panes.counts() == {(0, "a"): 1, (0, "b"): 1, (10, "c"): 1, (20, "d"): 1}
    assert (result.columns.n, result.late) == (4, 0)
    assert (result.touched, result.sizes) == ((0, 10_000, 20_000), [2, 1, 1])


def test_events_out_of_order_keep_the_order_of_the_log_in_each_pane() -> None:
    panes = Panes(metric(aggregations=["first", "last"]))
    panes.fold([event(11, amount=1), event(2, amount=2), event(11, amount=3), event(2, amount=4)])
    assert panes.held[10_000].column("first").tolist() == [1]
    assert panes.held[10_000].column("last").tolist() == [3]
    assert panes.held[0].column("first").tolist() == [2]
    assert panes.held[0].column("last").tolist() == [4]


def test_the_order_of_the_log_holds_in_batches_too_long_for_a_sort_that_happens_to_be_stable() -> (
    None
):
    panes = Panes(metric(aggregations=["first", "last"]))
    n = 2_000
    panes.fold([event(10 * (i * 7 % 5), amount=i) for i in range(n)])
    for start_ms, pane in panes.held.items():
        of_pane = [i for i in range(n) if i * 7 % 5 == start_ms // 10_000]
        assert pane.column("first").tolist() == of_pane[:1]
        assert pane.column("last").tolist() == of_pane[-1:]


def test_hopping_windows_have_panes_of_their_advance() -> None:
    panes = Panes(metric(window={"size": "60s", "advance": "10s", "grace": "0s"}))
    panes.fold([event(5), event(15), event(59)])
    assert sorted(panes.held) == [0, 10_000, 50_000]


def test_an_event_is_late_once_the_watermark_is_past_its_window_and_grace() -> None:
    # window [0, 10) + grace 5             v 15
    # watermark before the event     14.999   15
    panes = Panes(metric())
    result = panes.fold([event(3), event(3)], [14_999, 15_000])
    assert (result.columns.n, result.late) == (1, 1)
    assert panes.counts() == {(0, "a"): 1}


def test_a_pane_of_a_hopping_window_takes_events_until_its_last_window_is_over() -> None:
    # pane [0, 10), its last window is [0, 60), grace 0
    panes = Panes(metric(window={"size": "60s", "advance": "10s", "grace": "0s"}))
    result = panes.fold([event(3), event(3)], [59_999, 60_000])
    assert (result.columns.n, result.late) == (1, 1)


def test_only_events_that_the_metric_asks_for_are_folded_or_late() -> None:
    panes = Panes(metric(where='type == "purchase"'))
    result = panes.fold([event(3), event(3, kind="view")], 15_000)
    assert (result.columns.n, result.late) == (0, 1)
    assert panes.fold([event(23), event(23, kind="view")], 15_000).sizes == [1]


def test_a_batch_without_events_touches_nothing() -> None:
    result = Panes(metric()).fold([])
    assert (result.touched, result.sizes, result.late) == ((), [], 0)


def test_a_missing_dimension_is_the_empty_text() -> None:
    panes = Panes(metric(dimensions=["source", {"country": "data.country"}]))
    panes.fold([event(1, country="DE"), event(1)])
    assert panes.counts() == {(0, "a/DE"): 1, (0, "a/"): 1}


def test_a_metric_without_dimensions_has_one_series() -> None:
    panes = Panes(metric(dimensions=None))
    panes.fold([event(1, "a"), event(1, "b"), event(12, "b")])
    assert panes.counts() == {(0, ""): 2, (10, ""): 1}


def test_distinct_and_top_fields_are_sketched_and_missing_ones_are_not() -> None:
    panes = Panes(metric(distinct="data.user", topk="data.dest"))
    panes.fold(
        [
            event(1, user="u1", dest="x"),
            event(1, user="u2"),
            event(1, user="u1"),
            event(12, dest="y"),
        ]
    )
    first, second = panes.held[0], panes.held[10_000]
    assert first.registers(np.array([0]))[0].tolist() == [2]
    assert first.topk(0) == {"x": 1}
    assert second.registers(np.array([0]))[0].tolist() == [0]
    assert second.topk(0) == {"y": 1}


@pytest.mark.parametrize("seed", range(20))
def test_any_split_into_batches_folds_to_what_a_loop_over_the_events_gives(seed: int) -> None:
    chosen = random.Random(seed)
    asked = metric(where='type == "purchase"', aggregations=["count", "sum"])
    log = [
        event(
            chosen.choice([i / 10, chosen.uniform(0, 60)]),
            chosen.choice("abc"),
            chosen.choice(["purchase", "view"]),
            amount=chosen.random(),
        )
        for i in range(600)
    ]
    panes, late, highest_ms, first = Panes(asked), 0, None, 0
    while first < len(log):
        rows = log[first : first + chosen.randint(1, 300)]
        times = np.array([row["timestamp"] for row in rows], np.int64)
        before, highest_ms = watermark.running(times, highest_ms, 10**9, 1_000)
        late += panes.fold(rows, before).late
        first += len(rows)
    sums, late_expected = naive(log)
    assert late == late_expected
    assert {
        (start_ms, *key): total
        for start_ms, pane in panes.held.items()
        for key, total in zip(pane.keys, pane.column("sum").tolist(), strict=True)
    } == sums


def naive(log: Sequence[dict[str, object]]) -> tuple[dict[tuple[int, str], float], int]:
    sums: dict[tuple[int, str], float] = {}
    late, highest_ms = 0, None
    for row in log:
        timestamp, data = row["timestamp"], row["data"]
        assert isinstance(timestamp, int)
        assert isinstance(data, dict)
        start_ms = timestamp // 10_000 * 10_000
        mark_ms = watermark.of(highest_ms, 10**9, 1_000)
        highest_ms = timestamp if highest_ms is None else max(highest_ms, timestamp)
        if row["type"] != "purchase":
            continue
        if start_ms + 15_000 <= mark_ms:
            late += 1
            continue
        key = (start_ms, str(row["source"]))
        sums[key] = sums.get(key, 0.0) + data["amount"]
    return sums, late
