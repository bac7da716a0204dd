"""What fetches become: the same records as aiokafka's own reading gives, a batch at once."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import google_crc32c
import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from analytics.transport.fetching import Fetched, Reading, fetch_at_once

TP = TopicPartition("events", 3)
NONE, GZIP, LZ4 = 0, 1, 3
CONTROL = 0x20
ATTRIBUTES_AT = 21

Payload = bytes | None
Read = list[tuple[int, Payload, Payload]]


class Written(NamedTuple):
    """A Kafka record batch as a producer or a broker may have written it."""

    base: int
    #: By offset after the base; compaction leaves holes.
    records: Sequence[tuple[int, Payload, Payload]]
    codec: int = NONE
    control: bool = False

    def content(self) -> bytes:
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=self.codec,
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=1 << 20,
        )
        for offset, key, value in self.records:
            builder.append(offset, timestamp=7, key=key, value=value, headers=[])
        content = bytearray(builder.build())
        struct.pack_into(">q", content, 0, self.base)
        if self.control:
            [attributes] = struct.unpack_from(">h", content, ATTRIBUTES_AT)
            struct.pack_into(">h", content, ATTRIBUTES_AT, attributes | CONTROL)
            summed = google_crc32c.value(bytes(content[ATTRIBUTES_AT:]))
            struct.pack_into(">I", content, ATTRIBUTES_AT - 4, summed)
        return bytes(content)


def batch(base: int, *values: Payload, codec: int = NONE) -> bytes:
    return Written(base, [(n, None, value) for n, value in enumerate(values)], codec).content()


payloads = st.none() | st.binary(max_size=40)


@st.composite
def fetches(draw: st.DrawFn) -> tuple[bytes, int]:
    """What a broker gives for an offset: from the batch that has it on, cut off somewhere."""
    wanted = draw(st.integers(0, 12))
    content, offset = b"", 0
    for _ in range(draw(st.integers(0, 5))):
        offset += draw(st.integers(0, 3))  # compaction has left a hole
        places = sorted(draw(st.sets(st.integers(0, 8), min_size=1, max_size=6)))
        records = [(place, draw(payloads), draw(payloads)) for place in places]
        codec = draw(st.sampled_from([NONE, GZIP, LZ4]))
        written = Written(offset, records, codec, draw(st.booleans()))
        offset += places[-1] + 1
        content += written.content() if offset > wanted else b""
    return content[: len(content) - draw(st.integers(0, 30))], wanted


def stock(content: bytes, offset: int) -> tuple[Read, int]:
    """What aiokafka's own reading gives, and where it would go on."""
    reading: Any = fetcher.PartitionRecords(
        TP, MemoryRecords(content), [], offset, None, None, True, 0
    )
    read = [(one.offset, one.key, one.value) for one in reading]
    return read, reading.next_fetch_offset


def ours(content: bytes, offset: int) -> tuple[Read, int]:
    reading = Reading(TP, content, offset, check_crcs=True)
    read: Read = []
    for fetched in reading:
        assert (fetched.position, fetched.end) == (offset, reading.next_fetch_offset)
        read += [(one.offset, one.key, one.value) for one in fetched.records]
    return read, reading.next_fetch_offset


@given(fetches())
def test_the_records_are_those_of_the_stock_reading_from_any_offset(
    fetch: tuple[bytes, int],
) -> None:
    assert ours(*fetch) == stock(*fetch)


def test_all_that_was_fetched_comes_at_once() -> None:
    content = batch(0, b"a", b"b") + batch(2, b"c", codec=LZ4) + batch(9, b"d")[:-1]
    [fetched] = Reading(TP, content, 1, check_crcs=True)
    assert [one.value for one in fetched.records] == [b"b", b"c"]
    assert (fetched.position, fetched.end) == (1, 3)


def test_control_records_are_none_but_reading_goes_on_behind_them() -> None:
    marker = Written(2, [(0, b"", b"")], control=True).content()
    [fetched] = Reading(TP, batch(0, b"a", b"b") + marker, 0, check_crcs=True)
    assert [one.value for one in fetched.records] == [b"a", b"b"]
    assert fetched.end == 3
    assert list(Reading(TP, marker, 2, check_crcs=True)) == [Fetched(2, [], 3)]
    assert list(Reading(TP, b"", 2, check_crcs=True)) == []


def test_a_byte_that_is_not_what_was_sent_is_noticed() -> None:
    sent = batch(0, b"a" * 40)
    for at in range(ATTRIBUTES_AT - 4, len(sent)):
        content = bytearray(sent)
        content[at] ^= 1
        with pytest.raises(CorruptRecordException):
            next(Reading(TP, bytes(content), 0, check_crcs=True))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_behind_a_batch_that_is_spoilt_nothing_is_given_out_however_often_one_asks(
    bad: int,
) -> None:
    """It is to be fetched again, as with the stock reading."""
    batches = [bytearray(batch(number, b"%d" % number)) for number in range(3)]
    batches[bad][-1] ^= 1
    reading = Reading(TP, b"".join(batches), 0, check_crcs=True)
    with pytest.raises(CorruptRecordException):
        next(reading)
    assert list(reading) == []


def test_where_nobody_asks_for_it_bytes_are_not_summed_up() -> None:
    content = bytearray(batch(0, b"a" * 40))
    content[content.index(b"aaa")] ^= 1
    [fetched] = Reading(TP, bytes(content), 0, check_crcs=False)
    assert fetched.records[0].value == b"`" + b"a" * 39


def test_batches_of_old_brokers_are_read_too() -> None:
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=NONE, batch_size=1 << 16)
    builder.append(0, timestamp=7, key=None, value=b"a" * 40)
    old = bytes(builder.build())
    content = old + batch(1, b"c")
    assert ours(content, 0)[0] == [(0, None, b"a" * 40), (1, None, b"c")]
    spoilt = old[:-1] + bytes([old[-1] ^ 1])
    with pytest.raises(CorruptRecordException):
        list(Reading(TP, spoilt, 0, check_crcs=True))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    fetch_at_once({TP.topic})
    yield


def of_fetcher(topic: str, content: bytes, isolation: int = 0) -> list[Any]:
    """What the fetcher of aiokafka makes of a response."""
    fetched: Any = fetcher.MemoryRecords(content)
    assert fetched.has_next() and fetched.size_in_bytes() == len(content)
    reading: Any = fetcher.PartitionRecords(
        TopicPartition(topic, 0), fetched, [], 0, None, None, True, isolation
    )
    return list(reading)


def test_topics_that_nobody_named_are_read_as_ever(at_once: None) -> None:
    content = batch(0, b"a", b"b")
    assert [len(one.records) for one in of_fetcher(TP.topic, content)] == [2]
    assert [one.value for one in of_fetcher("another", content)] == [b"a", b"b"]
    committed_only = of_fetcher(TP.topic, content, fetcher.READ_COMMITTED)
    assert [one.value for one in committed_only] == [b"a", b"b"]


def test_a_batch_that_is_cut_off_is_not_there_yet(at_once: None) -> None:
    for length in (0, 11, len(batch(0, b"a")) - 1):
        fetched: Any = fetcher.MemoryRecords(batch(0, b"a")[:length])
        assert not fetched.has_next()
