"""Owns how an answer is written: JSON, NDJSON, CSV, Arrow, Parquet, chosen by an Accept header."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from analytics.core.query.answer import Answer, Bucket, Column, ColumnType, Meta, of_plain, plain
from analytics.errors import QueryError, QueryMistake

if TYPE_CHECKING:
    import pyarrow as pa

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"

HEADER_BUCKETS_MAX = 50


def render(answer: Answer, accept: str) -> tuple[bytes, str]:
    """The answer in the format that `accept` likes best, and its content type.

    `accept` is an HTTP Accept header; empty means anything, which is JSON. Raises QueryError with
    status 406 when it allows none of the formats.
    """
    media_type = negotiate(accept)
    content_type = f"{media_type}; charset=utf-8" if media_type == CSV else media_type
    return _WRITERS[media_type](answer), content_type


def negotiate(accept: str) -> str:
    """The media type that an Accept header likes best (RFC 9110, 12.5.1); ours decide a tie."""
    ranges = [_parse_range(item) for item in accept.split(",") if item.strip()]
    qualities = {offered: _quality(offered, ranges) for offered in _WRITERS}
    best = max(qualities, key=qualities.__getitem__)
    if not ranges:
        return JSON
    if qualities[best] == 0:
        message = f"Accept must allow one of {', '.join(_WRITERS)}"
        raise QueryError((QueryMistake("", message),), status=406)
    return best


def completeness(answer: Answer) -> str:
    """Buckets and meta as one line of ASCII: a header for formats that have no room for them.

    `states` counts the buckets by state. Beyond HEADER_BUCKETS_MAX they are not listed one by one:
    clients and proxies refuse a response whose headers are longer than some kilobytes.
    """
    document: dict[str, object] = {
        "states": Counter(bucket.state for bucket in answer.buckets),
        "meta": asdict(answer.meta),
    }
    if len(answer.buckets) <= HEADER_BUCKETS_MAX:
        document["buckets"] = _buckets(answer)
    return json.dumps(document)


# --- JSON ---------------------------------------------------------------------------------------


def to_json(answer: Answer) -> bytes:
    """The document of API.md; NaN and infinity are null."""
    document = {
        "columns": [asdict(column) for column in answer.columns],
        "rows": list(answer.rows()),
        "buckets": _buckets(answer),
        "meta": asdict(answer.meta),
    }
    return orjson.dumps(document)


class _Document(msgspec.Struct, frozen=True):
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    buckets: tuple[Bucket, ...]
    meta: Meta


def from_json(raw: bytes) -> Answer:
    """The answer that `to_json` wrote, maybe on another worker. ValueError for anything else."""
    try:
        document = msgspec.json.decode(raw, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not an answer: {error}") from error
    return _of_document(document)


def from_document(document: object) -> Answer:
    """As `from_json`, of a document that is parsed already."""
    try:
        return _of_document(msgspec.convert(document, _Document))
    except msgspec.MsgspecError as error:
        raise ValueError(f"not an answer: {error}") from error


def _of_document(document: _Document) -> Answer:
    columns, rows = document.columns, document.rows
    if not columns or any(len(row) != len(columns) for row in rows):
        raise ValueError("not an answer: a row is not as long as there are columns")
    try:
        data = tuple(of_plain(column, [row[i] for row in rows]) for i, column in enumerate(columns))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not an answer: {error}") from error
    return Answer(columns, data, document.buckets, document.meta)


def _buckets(answer: Answer) -> list[dict[str, object]]:
    return [asdict(bucket) for bucket in answer.buckets]


def _to_ndjson(answer: Answer) -> bytes:
    names = [column.name for column in answer.columns]
    option = orjson.OPT_APPEND_NEWLINE
    return b"".join(
        orjson.dumps(dict(zip(names, row, strict=True)), option=option) for row in answer.rows()
    )


# --- text ---------------------------------------------------------------------------------------


def _to_csv(answer: Answer) -> bytes:
    """RFC 4180 with a header line; null is empty, a top-k list is JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(column.name for column in answer.columns)
    columns = [
        ["" if each is None else orjson.dumps(each).decode() for each in values.tolist()]
        if column.type == "topk"
        else plain(column, values)
        for column, values in zip(answer.columns, answer.data, strict=True)
    ]
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue().encode()


# --- columnar -----------------------------------------------------------------------------------


def to_table(answer: Answer) -> "pa.Table":
    """The answer as an Arrow table; buckets and meta are JSON in the metadata of its schema."""
    import pyarrow as pa

    types: dict[ColumnType, pa.DataType] = {
        "timestamp_ms": pa.timestamp("ms", tz="UTC"),
        "string": pa.string(),
        "uint64": pa.uint64(),
        "float64": pa.float64(),
        "topk": pa.list_(pa.struct([("value", pa.string()), ("count", pa.uint64())])),
    }
    arrays = [
        pa.array(plain(column, values), types[column.type])
        for column, values in zip(answer.columns, answer.data, strict=True)
    ]
    fields = [pa.field(each.name, types[each.type]) for each in answer.columns]
    metadata = {
        "analytics.buckets": json.dumps(_buckets(answer)),
        "analytics.meta": json.dumps(asdict(answer.meta)),
    }
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))


def _to_arrow(answer: Answer) -> bytes:
    import pyarrow as pa

    table = to_table(answer)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _to_parquet(answer: Answer) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(to_table(answer), sink, compression="zstd")
    return bytes(sink.getvalue())


_WRITERS: Mapping[str, Callable[[Answer], bytes]] = MappingProxyType(
    {JSON: to_json, NDJSON: _to_ndjson, CSV: _to_csv, ARROW: _to_arrow, PARQUET: _to_parquet}
)


# --- negotiation --------------------------------------------------------------------------------


def _parse_range(item: str) -> tuple[str, float]:
    """One media range of an Accept header and its weight; a weight that is no number is 0."""
    media_range, *parameters = (part.strip().lower() for part in item.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                quality = 0.0
    return media_range, quality


def _quality(offered: str, ranges: list[tuple[str, float]]) -> float:
    """The weight that the most specific range which covers `offered` gives it; 0 without one."""
    weights = dict(ranges)
    for media_range in (offered, f"{offered.partition('/')[0]}/*", "*/*"):
        if media_range in weights:
            return weights[media_range]
    return 0.0
