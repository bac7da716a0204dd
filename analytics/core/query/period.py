"""Owns the time range of a question and how it is cut into buckets; knows no clock."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from analytics.core.definitions.duration import parse_duration
from analytics.core.definitions.metric import Metric, Window
from analytics.core.query.mistakes import Mistakes
from analytics.errors import brief

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# Years past 9999 cannot be written in RFC 3339, and 64-bit sums stay far from overflow.
_TIME_MS_MAX = 253_402_300_800_000


@dataclass(frozen=True, slots=True)
class Period:
    """The buckets of a question, one each `step_ms` in `[from_ms, to_ms)`; all in epoch ms.

    Without a step the whole range is one bucket. `from_ms` and `to_ms` are aligned outward, so that
    every bucket is made of whole panes.
    """

    from_ms: int
    to_ms: int
    step_ms: int | None

    @property
    def every_ms(self) -> int:
        """How far apart buckets begin."""
        return self.step_ms or self.to_ms - self.from_ms

    @property
    def count(self) -> int:
        """How many buckets."""
        return (self.to_ms - self.from_ms) // self.every_ms

    def start_ms(self, number: int) -> int:
        """Where the bucket of this number begins."""
        return self.from_ms + number * self.every_ms

    def span_ms(self, window: Window) -> int:
        """How long a bucket is: a metric asked finer than its window answers by whole windows.

        With `step_ms < size_ms` (which only a hopping window allows) the bucket at t is the window
        `[t, t + size_ms)`, and buckets overlap. Otherwise a bucket ends where the next begins.
        """
        return max(self.step_ms, window.size_ms) if self.step_ms else self.every_ms

    def buckets_of(self, pane_start_ms: int, window: Window) -> range:
        """The numbers of the buckets that hold the pane, rising; empty for a pane outside."""
        offset_ms = pane_start_ms - self.from_ms
        overhang_ms = offset_ms + window.pane_ms - self.span_ms(window)
        first = max(0, -(-overhang_ms // self.every_ms))
        return range(first, min(self.count, offset_ms // self.every_ms + 1))


def parse_period(
    document: Mapping[str, object],
    metrics: Sequence[Metric],
    now_ms: int,
    mistakes: Mistakes,
    *,
    range_ms_max: int,
    buckets_max: int,
) -> Period | None:
    """Read `timeRange` and `step`; None after a mistake, which is then in `mistakes`."""
    span = _parse_range(document.get("timeRange"), now_ms, mistakes)
    step_ms = _parse_step(document.get("step"), metrics, mistakes)
    if span is None or mistakes:
        return None
    # One bucket must be whole panes of every metric, or their rows could not be joined on it.
    grid_ms = step_ms or math.lcm(*(metric.window.pane_ms for metric in metrics))
    from_ms = span[0] // grid_ms * grid_ms
    to_ms = -(-span[1] // grid_ms) * grid_ms
    if to_ms - from_ms > range_ms_max:
        asked, most = (f"{ms / 86_400_000:g} days" for ms in (to_ms - from_ms, range_ms_max))
        mistakes.add("/timeRange", f"too large a range: {asked}, the limit is {most}")
        return None
    period = Period(from_ms, to_ms, step_ms)
    if period.count > buckets_max:
        mistakes.add("/step", f"too many buckets: {period.count:,}, the limit is {buckets_max:,}")
        return None
    return period


def parse_time(value: object) -> int:
    """Epoch ms of RFC 3339 text with an offset or of integer epoch ms; ValueError has the rule."""
    rule = "must be RFC 3339 with an offset, or integer epoch milliseconds"
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            time_ms = (datetime.fromisoformat(value.upper()) - _EPOCH) // _MILLISECOND
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{rule}: {error}") from error
    elif isinstance(value, int) and not isinstance(value, bool):
        time_ms = value
    else:
        raise ValueError(f"{rule}, got {brief(value)}")
    if not 0 <= time_ms <= _TIME_MS_MAX:
        raise ValueError(f"{rule}, from 1970 to 9999, got {brief(value)}")
    return time_ms


def _parse_range(given: object, now_ms: int, mistakes: Mistakes) -> tuple[int, int] | None:
    if not isinstance(given, dict):
        mistakes.add("/timeRange", 'is required: {"from", "to"} or {"last": "15m"}')
        return None
    mistakes.unknown_keys("/timeRange", given, ("from", "to", "last"))
    if "last" in given:
        if len(given) > 1:
            mistakes.add("/timeRange", "takes either last, or from and to")
        last_ms = _parse_duration(given["last"], "/timeRange/last", mistakes)
        return None if last_ms is None else (max(0, now_ms - last_ms), now_ms)
    ends: list[int] = []
    for name in ("from", "to"):
        try:
            ends.append(parse_time(given.get(name, now_ms if name == "to" else None)))
        except ValueError as error:
            mistakes.add(f"/timeRange/{name}", str(error))
    if len(ends) < 2:
        return None
    if ends[0] >= ends[1]:
        mistakes.add("/timeRange/to", "must be after from")
        return None
    return ends[0], ends[1]


def _parse_step(given: object, metrics: Sequence[Metric], mistakes: Mistakes) -> int | None:
    if given is None:
        return None
    step_ms = _parse_duration(given, "/step", mistakes)
    if step_ms is None:
        return None
    for metric in metrics:
        window = metric.window
        unit_ms = window.advance_ms if step_ms < window.size_ms else window.pane_ms
        if step_ms % unit_ms:
            mistakes.add(
                "/step",
                f"must be a multiple of {unit_ms} ms for {metric.name!r}, got {brief(given)}",
            )
    return step_ms


def _parse_duration(given: object, at: str, mistakes: Mistakes) -> int | None:
    try:
        return parse_duration(given)
    except ValueError as error:
        mistakes.add(at, f"{error}, got {brief(given)}")
        return None
