"""Owns the proof that a changelog topic that is deleted under load is written anew from the stores.

A worker that is killed after it makes the topic anew when it is started again. The others find it
empty: they end, as going on would be wrong, and are started again as well. Where nobody is killed
they stand still until they notice it.
"""

import os
import signal

import pytest
from confluent_kafka.admin import AdminClient

from analytics.topics import TABLES
from tests.faults.conftest import Repeats
from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, proven
from tests.services.supervisor import Supervisor
from tests.services.topics import ADMIN_SECONDS_MAX
from tests.services.workers import Deployment

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(1_800)]

SEED = 20131226
RATE = 1_000
FRESH_SECONDS_MAX = 120.0

WRITTEN_ANEW = "writes the whole state: its changelog is behind the store"


@pytest.mark.parametrize("table", TABLES)
def test_a_changelog_that_is_deleted_under_load(
    table: str,
    kafka: KafkaServer,
    tmp_path_factory: pytest.TempPathFactory,
    repeats: Repeats,
) -> None:
    """What they hold on disk is all there is."""
    deployment = Deployment(
        tmp_path_factory.mktemp("changelog"), kafka.bootstrap, FAULT_METRICS, FAULT_SETTINGS
    )
    fault = f"changelog {table} deleted"
    with (
        deployment.running(3) as fleet,
        Supervisor(fleet) as supervisor,
        proven(deployment, fleet, fault=fault, seed=SEED, rate=RATE) as run,
    ):
        run.warm_up()
        for number in range(repeats(1, 6)):
            written_anew = fleet.logs.count(WRITTEN_ANEW)
            _delete(deployment, deployment.topics.changelog(table))
            if number % 2 == 0:
                os.kill(fleet[number % 3].pid, signal.SIGKILL)
            run.fired()
            run.wait_fresh(FRESH_SECONDS_MAX)
            supervisor.wait_ready()
            now = fleet.logs.count(WRITTEN_ANEW)
            assert now > written_anew, "no store has outlived its changelog"


def _delete(deployment: Deployment, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap})
    for deleted in admin.delete_topics([topic], operation_timeout=ADMIN_SECONDS_MAX).values():
        deleted.result(ADMIN_SECONDS_MAX)
