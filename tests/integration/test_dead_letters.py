"""Owns the proof that bad lines cost nothing but themselves, and that each of them is kept."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Message

from analytics import __version__
from tests.services.flights import all_events, framed
from tests.services.kafka import KafkaServer
from tests.services.loading import Load, records_of, wait_applied
from tests.services.workers import PARTITIONS, Deployment, WorkerFleet
from tests.services.year import WHOLE_YEAR

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

EVENTS = 20_000
#: One line in twenty is bad.
BAD_LINES = EVENTS // 19
EVENT_BYTES_MAX = 20_000
HEADERS = {"reason", "topic", "partition", "offset", "line", "app_version", "detail"}

METRICS = """\
metrics:
  departures:
    where: type == "departure"
    value: data.dep_delay
    dimensions: [{case: metadata.case}, source, {origin: data.origin}]
    aggregations: [count, sum, avg, min, max, stddev, first, last, p50, p95, p99]
    distinct: data.tailnum
    topk: data.dest
    window: {size: 1h, grace: 40d}
    retention: 400d
"""

_HEAD = b'{"id":"bad-%(n)d","timestamp":1357035300000,"type":"departure","source":"UA"'
#: Each kind of bad line: its reason, and the line with a number that makes it unlike all others.
KINDS: dict[str, tuple[str, bytes]] = {
    "no JSON": ("invalid_json", b"this is no JSON, line %(n)d"),
    "cut off": ("invalid_json", _HEAD + b',"data":{"dep_delay":1'),
    "two events without a line feed": ("invalid_json", _HEAD + b"}" + _HEAD + b"}"),
    "a line of a pretty-printed event": ("invalid_json", b'    "id": "bad-%(n)d",'),
    "a list": ("not_an_object", b"[%(n)d]"),
    "a string": ("not_an_object", b'"bad-%(n)d"'),
    "a number": ("not_an_object", b"%(n)d"),
    "no id": ("missing_field", b'{"timestamp":%(n)d,"type":"departure","source":"UA"}'),
    "no timestamp": ("missing_field", b'{"id":"bad-%(n)d","type":"departure","source":"UA"}'),
    "no source": ("missing_field", b'{"id":"bad-%(n)d","timestamp":1,"type":"departure"}'),
    "a number for an id": ("wrong_type", b'{"id":%(n)d,"timestamp":1,"type":"a","source":"UA"}'),
    "a list for data": ("wrong_type", _HEAD + b',"data":[1]}'),
    "null for metadata": ("wrong_type", _HEAD + b',"metadata":null}'),
    "a flag for a time": (
        "wrong_type",
        b'{"id":"bad-%(n)d","timestamp":true,"type":"departure","source":"UA"}',
    ),
    "an empty type": ("empty_type", b'{"id":"bad-%(n)d","timestamp":1,"type":"","source":"UA"}'),
    "an empty source": ("empty_field", b'{"id":"bad-%(n)d","timestamp":1,"type":"a","source":""}'),
    "a long id": (
        "too_long",
        b'{"id":"%(n)d' + b"x" * 128 + b'","timestamp":1,"type":"a","source":"UA"}',
    ),
    "a word for a time": (
        "bad_timestamp",
        b'{"id":"bad-%(n)d","timestamp":"yesterday","type":"a","source":"UA"}',
    ),
    "a time without an offset": (
        "bad_timestamp",
        b'{"id":"bad-%(n)d","timestamp":"2013-01-01T10:15:00","type":"a","source":"UA"}',
    ),
    "nanoseconds": (
        "future_timestamp",
        b'{"id":"bad-%(n)d","timestamp":1357035300000000000,"type":"a","source":"UA"}',
    ),
    "Latin-1": ("invalid_utf8", _HEAD + b',"data":{"origin":"Z\xfcrich"}}'),
    "a number beyond float64": ("number_out_of_range", _HEAD + b',"data":{"dep_delay":1e999}}'),
    "nesting": ("too_deep", _HEAD + b',"data":{"x":' + b"[" * 600 + b"]" * 600 + b"}}"),
    "a huge line": ("too_large", _HEAD + b',"data":{"x":"' + b"x" * EVENT_BYTES_MAX + b'"}}'),
}


@dataclass(frozen=True, order=True)
class Letter:
    """A dead letter without what words it: where the line stood, its bytes, and the reason."""

    partition: int
    offset: int
    line: int
    raw: bytes
    reason: str


@dataclass(frozen=True)
class Sent:
    """What was sent, and the workers that have folded it."""

    deployment: Deployment
    fleet: WorkerFleet
    #: Reason by bad line.
    reasons: dict[bytes, str]


@pytest.fixture(scope="module")
def sent(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    """The same events twice: as case `clean`, and as case `mixed` with bad and blank lines."""
    directory = tmp_path_factory.mktemp("dead-letters")
    settings = {"event_bytes_max": EVENT_BYTES_MAX}
    deployment = Deployment(directory, kafka.bootstrap, METRICS, settings)
    bad = list(bad_lines(BAD_LINES))
    with deployment.running(2) as fleet:
        load = Load(deployment, codec="lz4")
        clean, mixed = (
            [list(record.split(b"\n")) for record in framed(tagged(case), 100)]
            for case in ("clean", "mixed")
        )
        load.send(b"\n".join(lines) for lines in clean)
        mix_in(mixed, [line for line, _ in bad])
        load.send(b"\n".join(lines) for lines in mixed)
        load.flush()
        wait_applied(deployment, fleet)
        yield Sent(deployment, fleet, dict(bad))


def test_valid_events_count_as_if_the_bad_lines_were_not_there(sent: Sent) -> None:
    """To the last digit, sketches and all."""
    clean, mixed = (answer(sent, case) for case in ("clean", "mixed"))
    assert len(clean) > 5_000
    assert sum(row[3] for row in clean) == sum(b'"departure"' in line for line in tagged("clean"))
    assert mixed == clean


def test_every_bad_line_becomes_one_dead_letter_with_its_bytes_place_and_reason(
    sent: Sent,
) -> None:
    expected = sorted(lines_refused(sent))
    assert len(expected) == BAD_LINES
    assert {letter.reason for letter in expected} == {reason for reason, _ in KINDS.values()}
    letters = records_of(sent.deployment.bootstrap, sent.deployment.topics.dead_letters)
    assert sorted(map(letter_of, letters)) == expected


def test_a_dead_letter_tells_all_that_is_known_of_it(sent: Sent) -> None:
    for message in records_of(sent.deployment.bootstrap, sent.deployment.topics.dead_letters):
        headers = dict(headers_of(message))
        assert headers.keys() >= HEADERS
        assert headers["topic"] == sent.deployment.topics.events
        assert headers["app_version"] == __version__
        assert 10 < len(headers["detail"]) <= 300
        assert message.key() == headers["reason"].encode()


def test_the_workers_count_what_they_refuse_by_reason(sent: Sent) -> None:
    counted: dict[str, float] = {}
    for worker in sent.fleet:
        for name, value in worker.asking.samples("analytics_rejected_lines_total{").items():
            reason = name.split('"')[1]
            counted[reason] = counted.get(reason, 0) + value
    wanted = dict.fromkeys(sent.reasons.values(), 0)
    for reason in sent.reasons.values():
        wanted[reason] += 1
    assert counted == wanted


def test_a_bad_line_is_no_error_of_the_worker(sent: Sent) -> None:
    for worker in sent.fleet:
        worker.check_alive()
        assert worker.errors == []


def bad_lines(count: int) -> Iterator[tuple[bytes, str]]:
    """So many different bad lines, each with its reason, of every kind in turn."""
    kinds = itertools.cycle(KINDS.values())
    for number, (reason, line) in zip(range(count), kinds, strict=False):
        yield line.replace(b"%(n)d", b"%d" % (1_000_000 + number)), reason


def mix_in(records: list[list[bytes]], lines: list[bytes]) -> None:
    """Put each line somewhere into some record, and here and there a blank one beside it."""
    chance = random.Random(2013)
    for line in lines:
        record = chance.choice(records)
        place = chance.randint(0, len(record))
        record[place:place] = [line, b""] if chance.random() < 0.1 else [line]


def tagged(case: str) -> list[bytes]:
    """The events with their case in the metadata."""
    tail = b',"metadata":{"case":"%s"}}' % case.encode()
    return [line[:-1] + tail for line in all_events()[:EVENTS]]


def answer(sent: Sent, case: str) -> list[list[Any]]:
    """Every row of a case, with every aggregate there is."""
    question = {
        "metrics": ["departures"],
        "filters": [{"field": "case", "op": "eq", "value": case}],
        "groupBy": ["source", "origin"],
        "timeRange": WHOLE_YEAR,
        "step": "1h",
    }
    rows: list[list[Any]] = sent.fleet[0].asking.query(question)["rows"]
    return rows


def lines_refused(sent: Sent) -> Iterator[Letter]:
    """The letters that the events topic should have led to, as it stands in Kafka."""
    events = records_of(sent.deployment.bootstrap, sent.deployment.topics.events, PARTITIONS)
    for message in events:
        partition, offset, value = message.partition(), message.offset(), message.value()
        assert partition is not None and offset is not None and value is not None
        for number, line in enumerate(value.split(b"\n")):
            if line in sent.reasons:
                yield Letter(partition, offset, number, line, sent.reasons[line])


def letter_of(message: Message) -> Letter:
    headers, value = dict(headers_of(message)), message.value()
    assert value is not None
    partition, offset, line = (int(headers[name]) for name in ("partition", "offset", "line"))
    return Letter(partition, offset, line, value, headers["reason"])


def headers_of(message: Message) -> list[tuple[str, str]]:
    """The headers of a dead letter, all of which are text."""
    headers = message.headers()
    assert isinstance(headers, list)
    return [(name, value.decode()) for name, value in headers if isinstance(value, bytes)]
