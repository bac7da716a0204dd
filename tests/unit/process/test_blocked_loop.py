"""A process whose loop is blocked, or that does not end, is ended; one that is busy is not."""

import subprocess
import sys

RUN = """
import asyncio, time
from analytics.process import pulse
pulse.BEAT_SECONDS = 0.05
async def main():
    beat = pulse.Pulse(blocked_seconds_max=0.5)
    beat.start()
    beat.watch(asyncio.get_running_loop())
    {body}
    beat.stop()
    print("came round", flush=True)
asyncio.run(main())
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN.format(body=body)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_a_blocked_loop_ends_the_process_and_shows_where_it_hangs() -> None:
    ended = run("time.sleep(20)")
    assert ended.returncode == 1
    assert "the event loop is blocked" in ended.stdout + ended.stderr
    assert "in main" in ended.stderr


def test_a_loop_that_is_busy_for_a_while_again_and_again_is_not_blocked() -> None:
    ended = run("for _ in range(4): time.sleep(0.2); await asyncio.sleep(0.1)")
    assert (ended.returncode, ended.stdout) == (0, "came round\n")


def test_a_process_that_does_not_come_to_its_end_in_time_is_ended() -> None:
    """It waits for a broker that never answers, say; its loop is as lively as ever."""
    ended = run("beat.end_within(0.3); beat.end_within(60); await asyncio.sleep(20)")
    assert ended.returncode == 1
    assert "does not come to an end" in ended.stdout + ended.stderr


def test_a_process_that_comes_to_its_end_in_time_is_left_alone() -> None:
    ended = run("beat.end_within(5); await asyncio.sleep(0.2)")
    assert (ended.returncode, ended.stdout) == (0, "came round\n")
