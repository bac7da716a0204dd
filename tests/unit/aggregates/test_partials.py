"""The wire form of partials: what comes back, what is refused, how it is cut."""

import msgspec
import numpy as np
import pytest

from analytics.core.aggregates.pane import Pane, decode, encode, split
from analytics.core.aggregates.partials import Partials, pack_sparse, unpack_sparse
from analytics.core.aggregates.sparse import SparseCounts
from tests.unit.aggregates.panes import Event, folded, spec, state


def snapshot(rows: int) -> Partials:
    return folded([Event((f"series {i}",), i, float(i), f"t{i}") for i in range(rows)]).partials()


def test_what_is_encoded_is_decoded() -> None:
    batch = [snapshot(3), snapshot(0), folded([], spec(("count",), sketches=False)).partials()]
    assert decode(encode(batch)) == batch


def test_the_form_on_the_wire_stays_as_it_is() -> None:
    # Changelogs outlive a deployment: whoever changes this must also be able to read the old form.
    pane = folded([Event(("a",), 5, 2.0, "x")], spec(("count", "first")))
    raw = encode([pane.partials()])
    assert msgspec.msgpack.decode(raw) == [
        [
            "metric@1",
            0,
            [["a"]],
            {
                "count": (1).to_bytes(8, "little"),
                "first_ts": (5).to_bytes(8, "little"),
                "first": np.float64(2.0).tobytes(),
            },
            [b"\x01", (1417).to_bytes(2, "little"), b"\x01"],
            [b"\x01", (7518).to_bytes(2, "little"), b"\x05"],
            [{"x": 1}],
            0,
        ]
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not msgpack",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        msgspec.msgpack.encode([{"metric": "m"}]),
        encode([snapshot(3)])[:-1],
    ],
)
def test_bytes_that_are_no_partials_are_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a batch of partials"):
        decode(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"count": b"1234567"}}, "column count is not 2 rows long"),
        ({"columns": {"median": b""}}, "unknown column 'median'"),
        ({"bins": (b"\x01\x01", b"\x01", b"\x01\x01")}, "cannot hold 2 integers"),
        ({"registers": (b"\xff\x01", b"", b"")}, "negative number of entries"),
        ({"topk": []}, "topk is not 2 rows long"),
    ],
)
def test_columns_that_do_not_fit_the_rows_are_a_value_error(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        decode(encode([msgspec.structs.replace(snapshot(2), **change)]))


def test_a_snapshot_is_cut_into_pieces_of_whole_rows_below_the_limit() -> None:
    whole = snapshot(100)
    pieces = split(whole, 4_000)
    assert len(pieces) > 1
    assert all(len(encode([piece])) <= 4_000 for piece in pieces)
    assert [key for piece in pieces for key in piece.keys] == whole.keys
    pane = Pane(spec(), 0)
    for piece in pieces:
        pane.replace(piece)
    assert pane.partials().columns == whole.columns


def test_a_row_above_the_limit_is_a_piece_of_its_own() -> None:
    assert [len(piece.keys) for piece in split(snapshot(3), 1)] == [1, 1, 1]


def test_a_snapshot_below_the_limit_is_not_cut() -> None:
    whole = snapshot(3)
    assert split(whole, 1_000_000) == [whole]


@pytest.mark.parametrize("value", [1, 127, 128, 2**15, 2**31, 2**62])
def test_values_of_every_width_come_back(value: int) -> None:
    counts = SparseCounts()
    counts.update(np.array([0, 0, 2]), np.array([-36_872, 7, 36_872]), np.array([1, value, 3]))
    lengths, items, values = unpack_sparse(pack_sparse(*counts.take(np.arange(3))), 3)
    assert lengths.tolist() == [2, 0, 1]
    assert items.tolist() == [-36_872, 7, 36_872]
    assert values.tolist() == [1, value, 3]


def test_a_restored_snapshot_is_the_state() -> None:
    pane = folded([Event(("a",), 1, 1.0, "x"), Event(("b",), 2, -1e9, "y")])
    restored = Pane(spec(), 0)
    restored.replace(decode(encode([pane.partials()]))[0])
    assert state(restored) == state(pane)
