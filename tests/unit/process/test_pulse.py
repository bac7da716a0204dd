"""The beat that notices a pause: it must tell a paused process from a busy event loop."""

import pytest

from analytics.process.pulse import Pulse, StoodStill


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that only pass when the test says so."""
    now = {"seconds": 100.0}
    monkeypatch.setattr("analytics.process.pulse.clock.monotonic", lambda: now["seconds"])
    return now


def test_a_steady_beat_is_fine(clock: dict[str, float]) -> None:
    beat = Pulse(5.0)
    beat.start()
    clock["seconds"] += 4.9
    beat.check()
    beat.stop()


def test_a_long_pause_is_noticed_and_never_forgotten(clock: dict[str, float]) -> None:
    beat = Pulse(5.0)
    beat.start()
    clock["seconds"] += 70
    with pytest.raises(StoodStill, match="stood still for 70"):
        beat.check()
    with pytest.raises(StoodStill):
        beat.check()
    beat.stop()


def test_before_it_beats_nothing_can_be_missing(clock: dict[str, float]) -> None:
    beat = Pulse(5.0)
    clock["seconds"] += 70
    beat.check()
    beat.stop()  # it never began


def test_it_can_be_stopped_once_and_leaves_no_thread(clock: dict[str, float]) -> None:
    beat = Pulse(5.0)
    beat.start()
    beat.stop()
    beat.stop()
