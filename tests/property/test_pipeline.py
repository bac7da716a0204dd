"""The whole pipeline without Kafka: real agents and tables under every order of faults.

`pipeline.machine` says what may happen, `pipeline.witness` what must hold after each step. Seeded
bugs show that each rule is needed to hold the product to it, and that the machine does.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.pipeline.bugs import BUGS, RUNS, Bug
from tests.property.pipeline.machine import Pipeline
from tests.property.pipeline.simulation import simulated

STEPS = 50
RUNS_OF_ALL, RUNS_LONG = 150, 10_000


def play(runs: int, *phases: Phase) -> None:
    """Let the machine have so many runs, the same ones each time."""
    with simulated():
        run_state_machine_as_test(
            Pipeline,
            settings=settings(
                max_examples=runs,
                stateful_step_count=STEPS,
                phases=phases,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )


def test_every_event_is_counted_once_and_no_answer_says_more_than_is_known() -> None:
    play(RUNS_OF_ALL, Phase.generate, Phase.shrink)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_the_same_in_many_more_orders() -> None:
    play(RUNS_LONG, Phase.generate, Phase.shrink)


@pytest.mark.parametrize(
    "bug",
    [
        pytest.param(
            bug,
            id=f"{bug.rule}: {bug.name}",
            marks=[pytest.mark.slow, pytest.mark.timeout(600)] if bug.runs > RUNS else [],
        )
        for bug in BUGS
    ],
)
def test_the_machine_finds_a_seeded_bug(bug: Bug) -> None:
    with bug.seeded(), pytest.raises(AssertionError):
        play(bug.runs, Phase.generate)


def test_each_bug_can_still_be_seeded() -> None:
    for bug in BUGS:
        with bug.seeded():
            pass


def test_each_rule_has_a_bug_that_it_is_there_to_find() -> None:
    rules = {rule.function.__name__ for rule in Pipeline().rules}
    shorthand = {"all_goes_well"}
    assert rules - shorthand == {bug.rule for bug in BUGS}
