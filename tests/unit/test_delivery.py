"""The wire form between the phases: what is cut, what each part says, and what is refused."""

from unittest.mock import patch

import msgspec
import pytest

from analytics.core import delivery
from analytics.core.aggregates.pane import Partials
from analytics.core.delivery import (
    Delivery,
    Heartbeat,
    Stamp,
    decode_delivery,
    encode_delivery,
    pack,
)
from tests.unit.phases import VISITS, S, partials

BEAT = Heartbeat(3, Stamp(2, 40), 9 * S, True, {VISITS.key: 5})


def packed(*parts: Partials, bytes_max: int = 512 * 1024) -> list[Delivery]:
    with patch.object(delivery, "DELIVERY_BYTES_MAX", bytes_max):
        return [decode_delivery(raw) for raw in pack(BEAT, parts)]


def test_a_heartbeat_is_a_delivery_without_rows() -> None:
    [one] = packed()
    assert (one.source, one.stamp, one.watermark_ms) == (3, Stamp(2, 40), 9 * S)
    assert (one.idle, one.late, one.partials, one.more) == (True, {VISITS.key: 5}, [], False)


def test_rows_come_back_as_they_were() -> None:
    parts = [partials(0, {"a": 1, "b": 2}), partials(10 * S, {"a": 3})]
    [one] = packed(*parts)
    assert one.partials == parts


def test_a_flush_that_is_too_large_is_cut_and_only_its_last_part_ends_it() -> None:
    parts = [partials(start * 10 * S, {str(n): 1 for n in range(20)}) for start in range(5)]
    several = packed(*parts, bytes_max=200)
    assert len(several) > 5
    assert [one.more for one in several] == [True] * (len(several) - 1) + [False]
    assert {one.stamp for one in several} == {BEAT.stamp}
    keys = [key for one in several for part in one.partials for key in part.keys]
    assert len(keys) == 100
    assert all(len(encode_delivery(one)) < 600 for one in several)


def test_parts_that_fit_together_share_a_delivery() -> None:
    parts = [partials(start * 10 * S, {"a": 1}) for start in range(50)]
    assert len(packed(*parts, bytes_max=2_000)) < 10


def test_a_delivery_of_a_version_that_knew_no_parts_is_complete() -> None:
    old = msgspec.msgpack.encode((0, 1, 5, 0, False, {}, []))
    assert decode_delivery(old).more is False


@pytest.mark.parametrize(
    "raw", [b"", b"\xc1", b"{}", b"\x90", msgspec.msgpack.encode((0, 1)), b"\x97" + b"\xff" * 7]
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a delivery"):
        decode_delivery(raw)


def test_stamps_compare_by_epoch_and_then_by_offset() -> None:
    assert Stamp(1, 900) < Stamp(2, -1) < Stamp(2, 0)
