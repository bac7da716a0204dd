"""Record batches: what a receiver has not seen, and that Faust passes them through untouched."""

from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from analytics.transport.records import RecordBatch, RecordBatchSchema


class Record(NamedTuple):
    offset: int
    value: bytes | None = b""


def batch(*offsets: int) -> RecordBatch:
    return RecordBatch(3, offsets[0], [Record(offset) for offset in offsets], 1)


def offsets(of: RecordBatch, after: int) -> list[int]:
    return [record.offset for record in of.after(after)]


def test_a_batch_ends_behind_its_last_record_or_where_it_is_said_to_end() -> None:
    assert batch(4, 5, 9).end == 10
    assert RecordBatch(3, 4, [], 1, 7).end == 7
    assert RecordBatch(3, 4, [], 1, 7).after(5) == []


def test_after_an_offset_come_the_records_not_seen_yet() -> None:
    assert offsets(batch(4, 5, 9), -1) == [4, 5, 9]
    assert offsets(batch(4, 5, 9), 3) == [4, 5, 9]
    assert offsets(batch(4, 5, 9), 4) == [5, 9]
    assert offsets(batch(4, 5, 9), 7) == [9]
    assert offsets(batch(4, 5, 9), 9) == []


def test_the_schema_hands_a_batch_through_and_knows_no_key() -> None:
    schema = RecordBatchSchema()
    of = batch(1)
    message = cast(Any, SimpleNamespace(value=of, key=b"key"))
    assert schema.loads_value(cast(Any, None), message) is of
    assert schema.loads_key(cast(Any, None), message) is None  # type: ignore[func-returns-value]  # that is the point
