"""Owns the proof that an answer says how complete it is, and that lateness follows event time.

The timeline of the first test, in seconds; windows of 10 s with a grace of 30 s, no disorder:

    0         10        20        30        40        50        60
    |--window--|                              |
     ^1 first events                          end + grace: later events are late
         ^15 the window is final
     ^2 late within grace: revised
                                                             ^60
     ^3 too late
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from tests.services.asking import Asking
from tests.services.kafka import KafkaServer
from tests.services.loading import Load
from tests.services.workers import PARTITIONS, Deployment

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

#: 2024-01-01T00:00:00Z, the start of a window.
T0_MS = 1_704_067_200_000
S = 1_000
IDLE_SECONDS = 1.0
BECOMES_SECONDS_MAX = 15.0

METRICS = """\
metrics:
  clicks:
    dimensions: [source]
    aggregations: [count]
    window: {size: 10s, grace: 30s}
"""


class Timeline:
    """A deployment with one worker, its clock that of the events."""

    def __init__(self, deployment: Deployment, asking: Asking) -> None:
        self._load = Load(deployment)
        self._numbers = itertools.count()
        self._asking = asking

    def event(self, at: float, partition: int, source: str = "a") -> None:
        """Send one event of second ``at`` to a partition."""
        document = {
            "id": f"click-{next(self._numbers)}",
            "timestamp": T0_MS + int(at * S),
            "type": "click",
            "source": source,
        }
        self._load.send([orjson.dumps(document)], partition=partition)
        self._load.flush()

    def everywhere(self, at: float) -> None:
        """Send one event of second ``at`` to every partition."""
        for partition in range(PARTITIONS):
            self.event(at, partition)

    def answer(self) -> "Heard":
        """What the worker says of the minutes around the timeline, by window."""
        question = {
            "metrics": ["clicks"],
            "timeRange": {"from": T0_MS, "to": T0_MS + 600 * S},
            "step": "10s",
        }
        return Heard(self._asking.query(question))


class Heard:
    """An answer, with times as seconds of the timeline."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.counts = {_seconds(row[0]): row[1] for row in answer["rows"]}
        self.states = {_seconds(one["timestamp"]): one["state"] for one in answer["buckets"]}
        through = answer["meta"]["data_through"]
        self.through = None if through is None else _seconds(through)
        self.late = answer["meta"]["late_events"]
        self.lag_ms = answer["meta"]["lag_ms"]

    def __repr__(self) -> str:
        return f"{self.counts} {self.states} through {self.through}, {self.late} late"


@pytest.fixture
def timeline(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timeline]:
    directory = tmp_path_factory.mktemp("completeness")
    settings = {"disorder": "0ms", "idle": f"{IDLE_SECONDS:g}s"}
    deployment = Deployment(directory, kafka.bootstrap, METRICS, settings)
    with deployment.running(1) as fleet:
        yield Timeline(deployment, fleet[0].asking)
        assert fleet[0].errors == []


def test_a_window_goes_from_open_to_final_to_revised(timeline: Timeline) -> None:
    nothing = timeline.answer()
    assert (nothing.counts, nothing.through, nothing.late) == ({}, None, 0)

    timeline.everywhere(1)
    heard = becomes(timeline, lambda now: now.counts == {0: PARTITIONS} and now.through == 1)
    assert heard.states == {0: "open"}
    assert heard.lag_ms > 0

    timeline.everywhere(15)
    heard = becomes(timeline, lambda now: now.through == 15 and now.counts.get(10) == PARTITIONS)
    assert heard.states == {0: "final", 10: "open"}

    timeline.event(2, partition=3)
    heard = becomes(timeline, lambda now: now.counts[0] == PARTITIONS + 1)
    assert heard.states == {0: "revised", 10: "open"}
    assert heard.late == 0

    timeline.everywhere(60)
    heard = becomes(timeline, lambda now: now.through == 60)
    assert heard.states == {0: "revised", 10: "final", 60: "open"}

    timeline.event(3, partition=3)
    timeline.event(61, partition=3, source="behind it")
    heard = becomes(timeline, lambda now: now.counts[60] == PARTITIONS + 1)
    assert heard.late == 1
    assert heard.counts == {0: PARTITIONS + 1, 10: PARTITIONS, 60: PARTITIONS + 1}
    assert heard.states == {0: "revised", 10: "final", 60: "open"}


def test_idle_partitions_do_not_hold_the_watermark_back_but_active_ones_do(
    timeline: Timeline,
) -> None:
    timeline.everywhere(10)
    becomes(timeline, lambda now: now.through == 10)

    timeline.event(100, partition=0)
    ends_at = time.monotonic() + 3 * IDLE_SECONDS
    heard = []
    while time.monotonic() < ends_at:
        # The others fall silent; this one goes on, behind the foremost.
        timeline.event(80, partition=1)
        heard.append(timeline.answer())
        time.sleep(IDLE_SECONDS / 10)
    assert heard[-1].through == 80
    assert {now.through for now in heard} <= {10, 80}
    assert heard[-1].states[10] == "final"

    becomes(timeline, lambda now: now.through == 100)


def test_the_watermark_does_not_fall_when_an_idle_partition_wakes_up(timeline: Timeline) -> None:
    """What was called final stays so; what the late riser brings is a revision."""
    timeline.everywhere(10)
    timeline.event(50, partition=0)
    heard = becomes(timeline, lambda now: now.through == 50)
    assert heard.states[10] == "final"

    timeline.event(12, partition=5)
    heard = becomes(timeline, lambda now: now.counts[10] == PARTITIONS + 1)
    assert heard.through == 50
    assert heard.states[10] == "revised"


def becomes(timeline: Timeline, condition: Callable[[Heard], bool]) -> Heard:
    """Ask until it is so; AssertionError with the last answer when it never is."""
    deadline = time.monotonic() + BECOMES_SECONDS_MAX
    while not condition(heard := timeline.answer()):
        assert time.monotonic() < deadline, heard
        time.sleep(0.05)
    return heard


def _seconds(time_ms: int) -> int:
    return (time_ms - T0_MS) // S
