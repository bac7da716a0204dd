"""Owns what `ANALYTICS_CRASH_AT` means."""

import subprocess
import sys
from signal import SIGKILL

import pytest

from analytics.errors import ConfigError
from analytics.process import crash

PASS_TWICE = """
from analytics.process import crash
crash.arm({text!r})
crash.at("merge.taken")
print("once", flush=True)
crash.at("merge.taken")
print("twice", flush=True)
"""


@pytest.mark.parametrize(
    ("text", "printed", "code"),
    [
        ("merge.taken", "", -SIGKILL),
        ("merge.taken:2", "once\n", -SIGKILL),
        ("merge.taken:3", "once\ntwice\n", 0),
        ("merge.claimed", "once\ntwice\n", 0),
        (None, "once\ntwice\n", 0),
    ],
)
def test_a_process_ends_itself_at_the_visit_that_was_armed(
    text: str | None, printed: str, code: int
) -> None:
    command = [sys.executable, "-c", PASS_TWICE.format(text=text)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    told = run.stdout.splitlines(keepends=True)
    assert "".join(line for line in told if line[:1] in "ot" and len(line) < 9) == printed
    assert run.returncode == code


@pytest.mark.parametrize(
    "text", ["merge", "merge.taken:x", "merge.taken:1:stop", "merge.taken:1:hang:now", ":1"]
)
def test_what_is_no_point_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"environment: ANALYTICS_CRASH_AT: must be POINT.*got"):
        crash.parse(text)


def test_a_visit_and_standing_still_can_be_asked_for() -> None:
    plan = crash.parse("aggregate.folded:7:hang")
    assert (plan.point, plan.visits_left, plan.hang) == ("aggregate.folded", 7, True)
