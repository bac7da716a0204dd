"""Owns the proof that a worker which stood still for a while harms nothing when it goes on.

It believes that it still owns its partitions. After a short pause it does; after a long one others
have taken over, and it has to end before it writes anything that counts.
"""

import shutil
import time
from collections.abc import Iterator, Sequence

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from analytics.topics import TABLES
from tests.faults.conftest import Repeats
from tests.services.kafka import KafkaServer
from tests.services.membership import TOOK_OVER, generation, took_over, wait_owned
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Run, proven
from tests.services.oracle.views import LIVE_VIEWS, PANE_MS
from tests.services.workers import PARTITIONS, Deployment, Worker, WorkerFleet

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(7_200)]

SEED = 20131224
RATE = 1_000
SESSION_SECONDS = 4
SETTINGS = {**FAULT_SETTINGS, "session_timeout": f"{SESSION_SECONDS}s"}

#: A worker that was paused beyond half a session ends; this leaves the machine a second to stall.
SHORT_PAUSE_SECONDS = SESSION_SECONDS / 4
#: Others may only take over once the session is over.
LONG_PAUSE_SECONDS = 1.5 * SESSION_SECONDS
TAKEN_OVER_SECONDS_MAX = 60.0
ENDED_SECONDS_MAX = 20.0
FRESH_SECONDS_MAX = 60.0
REREAD_SECONDS_MAX = 120.0


def test_a_worker_paused_for_less_than_half_a_session_goes_on_as_if_nothing_were(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    deployment = _deployment(kafka, tmp_path_factory, "short-pause")
    with (
        deployment.running(2) as fleet,
        proven(deployment, fleet, fault="paused shortly", seed=SEED, rate=RATE) as run,
    ):
        run.warm_up()
        before = generation(deployment), [worker.pid for worker in fleet], took_over(fleet)
        for number in range(repeats(3, 50)):
            worker = fleet[number % 2]
            worker.pause()
            run.fired()
            time.sleep(SHORT_PAUSE_SECONDS)
            worker.resume()
            run.wait_fresh(FRESH_SECONDS_MAX)
            worker.check_alive()
        after = generation(deployment), [worker.pid for worker in fleet], took_over(fleet)
    assert before == after


def test_a_zombie_ends_before_it_writes_and_all_can_be_rebuilt_from_the_changelogs(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    """What a zombie had written would show when nothing is left but what the changelogs hold."""
    deployment = _deployment(kafka, tmp_path_factory, "zombies")
    with (
        deployment.running(3) as fleet,
        proven(deployment, fleet, fault="zombie, then stores wiped", seed=SEED, rate=RATE) as run,
    ):
        run.warm_up()
        for number in range(repeats(2, 20)):
            zombie = fleet[number % 3]
            _let_wake_too_late(fleet, zombie, run)
            others = [worker for worker in fleet if worker is not zombie]
            # In turn only the zombie loses its disk, and everybody.
            for worker in others if number % 2 else ():
                assert worker.stop().exit_code == 0
            wiped = fleet.workers if number % 2 else [zombie]
            _start_from_nothing(wiped)
            fleet.wait_ready()
            run.wait_fresh(FRESH_SECONDS_MAX)
            _assert_rebuilt(wiped)
            _wait_read_again(run)
    assert _outdated(deployment) == []


def _let_wake_too_late(fleet: WorkerFleet, zombie: Worker, run: Run) -> None:
    """Pause it until the others have all it had, let it go on, and see it end by itself."""
    others = [worker for worker in fleet if worker is not zombie]
    before = took_over(others)
    began = time.monotonic()
    zombie.pause()
    wait_owned(others, TAKEN_OVER_SECONDS_MAX)
    assert took_over(others) > before
    time.sleep(max(0.0, began + LONG_PAUSE_SECONDS - time.monotonic()))
    told = len(zombie.log)
    run.fired()
    zombie.resume()
    assert zombie.wait_dead(ENDED_SECONDS_MAX) == 1
    last_words = zombie.log[told:]
    assert "stood still for" in last_words, last_words
    assert "took over" not in last_words, last_words


def _start_from_nothing(workers: Sequence[Worker]) -> None:
    """Start workers that have ended, with all their files gone: stores, and who they were."""
    for worker in workers:
        shutil.rmtree(worker.data)
        worker.start()


def _assert_rebuilt(workers: Sequence[Worker]) -> None:
    """What they say on taking over comes from their store, which came from the changelog."""
    for worker in workers:
        document = worker.asking.readiness().document
        newest = {one["partition"]: one["applied"] for one in worker.told(TOOK_OVER[0])}
        assert document["source_partitions"]
        assert all(newest[partition] > 0 for partition in document["source_partitions"])


def _wait_read_again(run: Run) -> None:
    """Block until as many answers were held to be complete as there are complete buckets by now.

    The readers ask for the past in slices, so that by then each will have been asked for anew.
    """
    buckets = (run.through_ms - run.stream.start_ms) // PANE_MS
    wanted = run.seen.claims + len(LIVE_VIEWS) * buckets
    deadline = time.monotonic() + REREAD_SECONDS_MAX
    while run.seen.claims < wanted:
        assert time.monotonic() < deadline, f"{run.seen.claims} of {wanted}"
        assert not (run.seen.excesses or run.seen.early), run.seen.evidence
        time.sleep(0.1)


def _outdated(deployment: Deployment) -> list[str]:
    """What stands on a changelog behind the first words of a later owner of the partition.

    There may be none: such words do not count, but a worker that stood still should not speak.
    """
    found = []
    for table in TABLES:
        topic = deployment.topics.changelog(table)
        newest = dict.fromkeys(range(PARTITIONS), 0)
        for partition, offset, key in _written(deployment.bootstrap, topic):
            epoch = int.from_bytes(key[1:9], "big")
            if epoch < newest[partition]:
                found.append(f"{topic}-{partition} at {offset}: {key[:1]!r} of epoch {epoch}")
            newest[partition] = max(newest[partition], epoch)
    return found


def _written(bootstrap: str, topic: str) -> Iterator[tuple[int, int, bytes]]:
    """(partition, offset, key) of every record of a changelog but the deletions, in order.

    Those name what an earlier owner has written, but do not say who deletes it.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reading",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    left = PARTITIONS
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        while left:
            for message in consumer.consume(5_000, timeout=1.0):
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    left -= 1
                elif message.value() is not None:
                    partition, offset, key = message.partition(), message.offset(), message.key()
                    assert partition is not None and offset is not None and key is not None
                    yield partition, offset, bytes(key)
    finally:
        consumer.close()


def _deployment(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, name: str
) -> Deployment:
    directory = tmp_path_factory.mktemp(name)
    return Deployment(directory, kafka.bootstrap, FAULT_METRICS, SETTINGS)
