"""Owns the fixtures that more than one tier of tests shares; must not start anything by itself."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Protocol

import hypothesis
import pytest

from tests.services.environment import on_ci, require_program
from tests.services.kafka import KafkaServer
from tests.services.topics import create_topic

# A shared machine stalls for longer than any deadline. CI plays the same examples each time, so
# that it fails for what changed; everywhere else Hypothesis goes on looking.
hypothesis.settings.register_profile("ours", deadline=None, derandomize=on_ci())
hypothesis.settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where tests with faults report; here, because pytest reads no deeper conftest in time."""
    parser.addoption(
        "--faults-report",
        default=".faults/report.jsonl",
        help="file that each test with faults adds a line of JSON to",
    )
    parser.addoption(
        "--faults-long",
        action="store_true",
        help="repeat every fault as often as the reliability report promises (hours)",
    )


class MakeTopic(Protocol):
    """Creates a topic that no other test knows and returns its name."""

    def __call__(
        self, prefix: str = "test", *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str:
        """Take a `prefix` that tells topics apart in a failure, and the topic's own config."""


@pytest.fixture(scope="session")
def kafka_programs() -> None:
    """Skip what needs a Kafka of its own where Java or Maven is missing; fail it on CI."""
    for program in ("java", "mvn"):
        require_program(program)


@pytest.fixture(scope="session")
def kafka(kafka_programs: None) -> Iterator[KafkaServer]:
    """A running Kafka, started by the first test that asks and shared by the session."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def make_topic(kafka: KafkaServer) -> MakeTopic:
    """A function that creates topics on the shared Kafka."""

    def make(
        prefix: str = "test", *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str:
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        return create_topic(kafka.bootstrap, name, partitions=partitions, config=config)

    return make
