"""Owns the wire form of partial aggregates, columnar snapshots of rows; it folds nothing."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates.measures import COLUMNS, Integers, Items

SparseBytes = tuple[bytes, bytes, bytes]
"""Entries of each row (lengths), then their items and values, row after row."""

_WIDTHS = tuple(np.dtype(code) for code in ("<i1", "<i2", "<i4", "<i8"))


class Partials(msgspec.Struct, frozen=True, array_like=True):
    """Cumulative aggregates of some rows of ONE metric in ONE pane from ONE source partition.

    A later snapshot of a row replaces an earlier one; that is why a replay changes nothing.
    `columns` holds one little-endian array per stored column (measures.COLUMNS says which type);
    `bins`, `registers` and `topk` are None where the metric does not keep them.
    """

    metric: str  # the metric's key: name@version
    start_ms: int  # of the pane
    keys: list[tuple[str, ...]]  # dimension values, one tuple a row
    columns: dict[str, bytes]
    bins: SparseBytes | None = None  # DDSketch: bin -> count
    registers: SparseBytes | None = None  # HyperLogLog: register -> rank
    topk: list[dict[str, int]] | None = None
    overflowed: int = 0  # events of the whole pane folded into `__other__` so far


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Partials])


def encode(partials: Sequence[Partials]) -> bytes:
    """Serialise snapshots for a changelog, a table or the `partials` topic."""
    return _encoder.encode(partials)


def decode(raw: bytes) -> list[Partials]:
    """Read what `encode` wrote; ValueError for anything else, such as columns of a wrong length."""
    try:
        decoded = _decoder.decode(raw)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"not a batch of partials: {error}") from error
    for partials in decoded:
        _check(partials)
    return decoded


def split(partials: Partials, bytes_max: int) -> list[Partials]:
    """Cut by rows until every piece encodes to at most `bytes_max` bytes.

    A single row is never cut, so a row larger than that comes back as a piece of its own. A row is
    some KB; bounded by 16 dimensions and 200 top-k texts of 256 characters, 8,192 registers of 3
    bytes, and as many bins as its values have magnitudes (the whole range of float64 takes 1 MB).
    """
    n = len(partials.keys)
    if n <= 1 or len(encode([partials])) <= bytes_max:
        return [partials]
    half = n // 2
    return [
        piece
        for first, last in ((0, half), (half, n))
        for piece in split(_rows(partials, first, last), bytes_max)
    ]


def pack_sparse(
    lengths: NDArray[np.int32], items: NDArray[np.int32], values: Integers
) -> SparseBytes:
    """Each array in the narrowest integers that hold it: a register takes 3 bytes, not 12."""
    return _narrow(lengths), _narrow(items), _narrow(values)


def unpack_sparse(packed: SparseBytes, n: int) -> tuple[Integers, Integers, Integers]:
    """(lengths, items, values) of `n` rows as int64; ValueError where the arrays do not fit."""
    lengths = _lengths(packed, n)
    entries = int(lengths.sum())
    return lengths, _widen(packed[1], entries), _widen(packed[2], entries)


def _narrow(array: Items) -> bytes:
    if not array.size:
        return b""
    low, high = int(array.min()), int(array.max())
    for dtype in _WIDTHS:
        most = (1 << 8 * dtype.itemsize - 1) - 1  # np.iinfo builds an object at every call
        if -most - 1 <= low and high <= most:
            return array.astype(dtype, copy=False).tobytes()
    raise AssertionError("64 bits hold every array")


def _lengths(packed: SparseBytes, n: int) -> Integers:
    lengths = _widen(packed[0], n)
    if lengths.size and lengths.min() < 0:
        raise ValueError("a row cannot have a negative number of entries")
    return lengths


def _widen(raw: bytes, n: int) -> Integers:
    return np.frombuffer(raw, _width(raw, n)).astype(np.int64)


def _width(raw: bytes, n: int) -> np.dtype[Any]:
    """The width is not written down: it is the number of bytes over the number of elements."""
    for dtype in _WIDTHS:
        if len(raw) == n * dtype.itemsize:
            return dtype
    raise ValueError(f"{len(raw)} bytes cannot hold {n} integers")


def _check(partials: Partials) -> None:
    n = len(partials.keys)
    for name, raw in partials.columns.items():
        if name not in COLUMNS:
            raise ValueError(f"partials of {partials.metric}: unknown column {name!r}")
        if len(raw) != n * COLUMNS[name].dtype.itemsize:
            raise ValueError(f"partials of {partials.metric}: column {name} is not {n} rows long")
    for packed in (partials.bins, partials.registers):
        if packed is not None:
            entries = int(_lengths(packed, n).sum())
            _width(packed[1], entries)
            _width(packed[2], entries)
    if partials.topk is not None and len(partials.topk) != n:
        raise ValueError(f"partials of {partials.metric}: topk is not {n} rows long")


def _rows(partials: Partials, first: int, last: int) -> Partials:
    """The rows [first, last)."""
    n = len(partials.keys)
    width = {name: COLUMNS[name].dtype.itemsize for name in partials.columns}
    return Partials(
        metric=partials.metric,
        start_ms=partials.start_ms,
        keys=partials.keys[first:last],
        columns={
            name: raw[first * width[name] : last * width[name]]
            for name, raw in partials.columns.items()
        },
        bins=_sparse_rows(partials.bins, n, first, last),
        registers=_sparse_rows(partials.registers, n, first, last),
        topk=None if partials.topk is None else partials.topk[first:last],
        overflowed=partials.overflowed,
    )


def _sparse_rows(packed: SparseBytes | None, n: int, first: int, last: int) -> SparseBytes | None:
    if packed is None:
        return None
    lengths, items, values = unpack_sparse(packed, n)
    low, high = int(lengths[:first].sum()), int(lengths[:last].sum())
    return _narrow(lengths[first:last]), _narrow(items[low:high]), _narrow(values[low:high])
