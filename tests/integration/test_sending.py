"""Owns the proof that topics are created and NDJSON reaches Kafka; must not start a worker."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from analytics.transport.framing import RECORD_BYTES_MAX
from tests.conftest import MakeTopic
from tests.services.kafka import KafkaServer

pytestmark = pytest.mark.kafka

PARTITIONS = 4
RUN_SECONDS_MAX = 30.0


def lines(count: int) -> list[bytes]:
    return [json.dumps({"number": number, "pad": "x" * 60}).encode() for number in range(count)]


def run(bootstrap: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, since commands configure logging."""
    return subprocess.run(
        [sys.executable, "-m", "analytics", *arguments],
        env={"ANALYTICS_BROKER": f"kafka://{bootstrap}", "LANG": "C.UTF-8", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS_MAX,
    )


async def records(bootstrap: str, topic: str) -> dict[int, list[bytes]]:
    """The values of every record by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[int, list[bytes]] = {one.partition: [] for one in partitions}
        while any(len(found[one.partition]) < ends[one] for one in partitions):
            for partition, batch in (await consumer.getmany(timeout_ms=500)).items():
                found[partition.partition] += [record.value for record in batch]
    finally:
        await consumer.stop()
    return found


def sent(found: dict[int, list[bytes]]) -> list[bytes]:
    """All lines in the order in which they were dealt to the partitions in turn."""
    turns: Sequence[tuple[bytes | None, ...]] = list(itertools.zip_longest(*found.values()))
    return [line for turn in turns for value in turn if value for line in value.split(b"\n")]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_line_arrives_once_dealt_to_the_partitions_in_turn(
    kafka: KafkaServer, make_topic: MakeTopic, tmp_path: Path, codec: str
) -> None:
    topic = make_topic("send", partitions=PARTITIONS)
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(lines(10_000)))

    result = run(
        kafka.bootstrap,
        "send",
        str(file),
        "--topic",
        topic,
        "--frame",
        "300",
        "--compression",
        codec,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("acknowledged 10,000, rejected 0 events")
    found = asyncio.run(records(kafka.bootstrap, topic))
    assert sent(found) == lines(10_000)
    assert max(len(value.split(b"\n")) for values in found.values() for value in values) == 300


def test_a_line_too_large_is_rejected_and_counted(
    kafka: KafkaServer, make_topic: MakeTopic, tmp_path: Path
) -> None:
    topic = make_topic("send", partitions=PARTITIONS)
    file = tmp_path / "events.ndjson"
    file.write_bytes(b'{"a":1}\n' + b"x" * (RECORD_BYTES_MAX + 1) + b'\n{"b":2}\n')

    result = run(kafka.bootstrap, "send", str(file), "--topic", topic)

    assert result.returncode == 1
    assert result.stdout.startswith("acknowledged 2, rejected 1 events")
    assert "rejected: line 2: " in result.stderr
    assert sent(asyncio.run(records(kafka.bootstrap, topic))) == [b'{"a":1}', b'{"b":2}']


def test_a_record_that_the_broker_refuses_ends_it_with_what_to_do(
    kafka: KafkaServer, make_topic: MakeTopic, tmp_path: Path
) -> None:
    topic = make_topic("send", partitions=1, config={"max.message.bytes": "100000"})
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"{}\n" * 90_000)

    result = run(kafka.bootstrap, "send", str(file), "--topic", topic, "--frame=50000")

    assert result.returncode == 1
    assert result.stdout.startswith("acknowledged 0, rejected 90,000 events")
    assert "send fewer lines in one" in result.stderr


def test_an_unknown_topic_is_named_with_what_to_do(kafka: KafkaServer, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"{}\n")

    result = run(kafka.bootstrap, "send", str(file), "--topic", "nowhere")

    assert result.returncode == 1
    assert "there is no topic 'nowhere'" in result.stderr
    assert "analytics topics create" in result.stderr


def test_nobody_at_the_address_is_a_line_and_1(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"{}\n")

    result = run("127.0.0.1:1", "send", str(file))

    assert result.returncode == 1
    assert result.stderr.startswith("analytics: cannot reach Kafka: ")
    assert "Traceback" not in result.stderr


def test_ctrl_c_ends_a_pipe_with_the_counts_so_far(
    kafka: KafkaServer, make_topic: MakeTopic
) -> None:
    topic = make_topic("send", partitions=PARTITIONS)
    command = [sys.executable, "-m", "analytics", "send", "-", "--topic", topic]
    environ = {"ANALYTICS_BROKER": f"kafka://{kafka.bootstrap}", "LANG": "C.UTF-8"}
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"a":1}\n{"b":2}\n{"unfinis')
        process.stdin.flush()
        time.sleep(2.5)  # a line of progress tells that the pause has sent them
        process.send_signal(signal.SIGINT)
        process.wait(RUN_SECONDS_MAX)
        assert process.stdout is not None
        assert process.stdout.read().startswith(b"acknowledged 2, rejected 0 events")


def test_topics_are_created_once_and_a_mismatch_is_an_error(kafka: KafkaServer) -> None:
    prefix = f"test-{os.getpid()}-"
    environ = {"ANALYTICS_TOPIC_PREFIX": prefix, "ANALYTICS_PARTITIONS": "3"}

    first = run(kafka.bootstrap, "topics", "create", **environ)
    again = run(kafka.bootstrap, "topics", "create", **environ)
    other = run(kafka.bootstrap, "topics", "create", **environ | {"ANALYTICS_PARTITIONS": "5"})

    assert (first.returncode, again.returncode, other.returncode) == (0, 0, 1), first.stderr
    assert f"created {prefix}events" in first.stdout
    assert f"exists  {prefix}events" in again.stdout
    assert "created" not in again.stdout
    assert f"analytics: {prefix}events: has 3 partitions, the settings ask for 5" in other.stderr
