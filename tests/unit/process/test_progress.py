"""When something counts as stalled: it waits, does not move, and has done so for too long."""

import pytest

from analytics.process.progress import Progress, Stalled


class Clock:
    """Seconds that only pass when the test says so."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress(60.0, clock)


def test_what_waits_at_one_mark_for_too_long_is_stalled(progress: Progress, clock: Clock) -> None:
    progress.check({"events-0": 7})
    clock.seconds += 60
    progress.check({"events-0": 7})
    clock.seconds += 1
    with pytest.raises(Stalled, match=r"events-0 has not moved for 61 s .* \(at 7\)"):
        progress.check({"events-0": 7})


def test_what_moves_is_fine(progress: Progress, clock: Clock) -> None:
    for mark in range(5):
        progress.check({"events-0": mark})
        clock.seconds += 50


def test_one_that_moves_does_not_hide_another_that_does_not(
    progress: Progress, clock: Clock
) -> None:
    for mark in range(2):
        progress.check({"events-0": mark, "events-1": 0})
        clock.seconds += 31
    with pytest.raises(Stalled, match="events-1"):
        progress.check({"events-0": 2, "events-1": 0})


def test_a_time_in_which_nobody_looked_or_nothing_waited_does_not_count(
    progress: Progress, clock: Clock
) -> None:
    """A broker that was away for an hour, a partition of somebody else, or just silence."""
    progress.check({"events-0": 7})
    clock.seconds += 50
    progress.check({})
    clock.seconds += 3_600
    progress.check({"events-0": 7})
    clock.seconds += 60
    progress.check({"events-0": 7})
