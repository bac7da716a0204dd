"""Owns where tests with faults report what they found, and that everybody sees it at the end."""

from collections.abc import Callable, Iterator

import pytest

from tests.services.oracle.reporting import REPORTING

PROPERTY = "fault"

Repeats = Callable[[int, int], int]


@pytest.fixture(autouse=True)
def reported(request: pytest.FixtureRequest) -> Iterator[None]:
    """Send reports to the file of `--faults-report`, and keep the lines for the summary.

    As properties of the test they also come home from the processes of pytest-xdist.
    """
    config = request.config
    REPORTING.path = config.rootpath / config.getoption("--faults-report")
    first = len(REPORTING.lines)
    yield
    request.node.user_properties += [(PROPERTY, line) for line in REPORTING.lines[first:]]


@pytest.fixture
def repeats(request: pytest.FixtureRequest) -> Repeats:
    """How often to repeat a fault: the first number, or the second with `--faults-long`."""
    long = request.config.getoption("--faults-long")
    return lambda few, many: many if long else few


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each test that reported."""
    reports = [one for many in terminalreporter.stats.values() for one in many]
    lines = [
        value
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if lines:
        terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(str(line))
