"""How answers are written, and which format an Accept header chooses."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analytics.core.query.answer import Answer, Bucket
from analytics.core.query.formats import (
    ARROW,
    CSV,
    JSON,
    NDJSON,
    PARQUET,
    completeness,
    from_document,
    from_json,
    negotiate,
    render,
)
from analytics.errors import QueryError
from tests.unit.query.held import S, ask, live, metric

ROWS = [(0, "UA", 'J"F,K', 1.5), (10 * S, "Ü\n", "", None)]
FUNCTIONS = ("count", "sum", "topk")
NAMES = ["timestamp", "source", "delays.count", "delays.sum", "delays.topk"]
EXPECTED = [
    (0, "UA", 1, 1.5, [{"value": 'J"F,K', "count": 1}]),
    (10 * S, "Ü\n", 1, None, []),
]


def answer() -> Answer:
    return ask(live(metric(), {0: ROWS}, 15 * S), *FUNCTIONS, groupBy=["source"], step="10s")


def document() -> dict[str, Any]:
    body, content_type = render(answer(), JSON)
    assert content_type == "application/json"
    parsed: dict[str, Any] = json.loads(body)
    return parsed


def test_json_has_the_shape_of_the_interface() -> None:
    assert document() == {
        "columns": [
            {"name": "timestamp", "type": "timestamp_ms"},
            {"name": "source", "type": "string"},
            {"name": "delays.count", "type": "uint64"},
            {"name": "delays.sum", "type": "float64"},
            {"name": "delays.topk", "type": "topk"},
        ],
        "rows": [list(row) for row in EXPECTED],
        "buckets": [
            {"timestamp": 0, "state": "final"},
            {"timestamp": 10 * S, "state": "open"},
        ],
        "meta": {
            "resolution_ms": 10_000,
            "data_through": 15 * S,
            "lag_ms": 45 * S,
            "sources": ["table"],
            "late_events": 0,
            "degraded": [],
            "cached": False,
            "took_ms": 0.0,
        },
    }


def test_nan_and_infinity_are_null_in_json() -> None:
    odd = answer()
    odd = replace(odd, data=(*odd.data[:3], np.array([np.inf, np.nan]), odd.data[4]))
    body, _ = render(odd, JSON)
    assert [row[3] for row in json.loads(body)["rows"]] == [None, None]


def test_an_answer_is_read_back_from_json_as_it_was() -> None:
    body, _ = render(answer(), JSON)
    for read in (from_json(body), from_document(json.loads(body))):
        assert list(read.rows()) == EXPECTED
        assert (read.columns, read.buckets, read.meta) == (
            *(answer().columns, answer().buckets, answer().meta),
        )
        assert [each.dtype for each in read.data] == [each.dtype for each in answer().data]
        assert render(read, JSON)[0] == body


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"[]", b"{}", b"\xff", b'{"columns": [], "rows": [[1]], "buckets": [], "meta": {}}'),
        json.dumps(document() | {"rows": [[0, "UA", "one", 1.5, []]]}).encode(),
        json.dumps(document() | {"rows": [[0]]}).encode(),
    ],
)
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not an answer"):
        from_json(raw)


def test_ndjson_is_one_object_a_row() -> None:
    body, content_type = render(answer(), NDJSON)
    assert content_type == "application/x-ndjson"
    assert [json.loads(line) for line in body.splitlines()] == [
        dict(zip(NAMES, row, strict=True)) for row in EXPECTED
    ]


def test_csv_has_a_header_quotes_what_needs_it_and_leaves_null_empty() -> None:
    body, content_type = render(answer(), CSV)
    assert content_type == "text/csv; charset=utf-8"
    assert body.endswith(b"\r\n")
    assert list(csv.reader(io.StringIO(body.decode(), newline=""))) == [
        NAMES,
        ["0", "UA", "1", "1.5", '[{"value":"J\\"F,K","count":1}]'],
        ["10000", "Ü\n", "1", "", "[]"],
    ]


def read_table(accept: str) -> pa.Table:
    body, content_type = render(answer(), accept)
    assert content_type == accept
    if accept == ARROW:
        return pa.ipc.open_stream(body).read_all()
    return pq.read_table(io.BytesIO(body))


@pytest.mark.parametrize("accept", [ARROW, PARQUET])
def test_columnar_formats_keep_types_nulls_and_completeness(accept: str) -> None:
    table = read_table(accept)
    assert table.column_names == NAMES
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [0, 10 * S]
    assert str(table.schema.field("timestamp").type) == "timestamp[ms, tz=UTC]"
    assert str(table.schema.field("delays.count").type) == "uint64"
    assert table["delays.sum"].to_pylist() == [1.5, None]
    assert table["delays.topk"].to_pylist() == [row[4] for row in EXPECTED]
    metadata = table.schema.metadata
    assert json.loads(metadata[b"analytics.meta"]) == document()["meta"]
    assert json.loads(metadata[b"analytics.buckets"]) == document()["buckets"]


def test_completeness_fits_a_header() -> None:
    line = completeness(answer())
    assert line.isascii()
    assert "\n" not in line
    expected = {key: document()[key] for key in ("buckets", "meta")}
    assert json.loads(line) == {**expected, "states": {"final": 1, "open": 1}}


def test_completeness_of_many_buckets_still_fits_a_header() -> None:
    many = tuple(Bucket(10 * S * number, "final") for number in range(10_000))
    line = completeness(replace(answer(), buckets=many))
    assert json.loads(line)["states"] == {"final": 10_000}
    assert len(line) < 1_000


@pytest.mark.parametrize("accept", [JSON, NDJSON, CSV, ARROW, PARQUET])
def test_an_answer_without_rows_can_be_written(accept: str) -> None:
    empty = ask(live(metric(), {0: []}, 0), *FUNCTIONS, groupBy=["source"])
    assert render(empty, accept)[1].startswith(accept)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV; charset=utf-8", CSV),
        ("text/*", CSV),
        ("application/*;q=0.5, text/csv;q=0.4", JSON),
        ("application/json;q=0.5, application/x-ndjson", NDJSON),
        ("application/json;q=0, */*", NDJSON),
        ("text/csv, application/json", JSON),
        (f"{PARQUET};q=0.9, {ARROW};q=0.8", PARQUET),
    ],
)
def test_an_accept_header_chooses_the_format(accept: str, chosen: str) -> None:
    assert negotiate(accept) == chosen


@pytest.mark.parametrize("accept", ["text/html", "*/*;q=0", "application/json;q=no", "image/*"])
def test_a_header_that_allows_no_format_is_not_acceptable(accept: str) -> None:
    with pytest.raises(QueryError) as caught:
        negotiate(accept)
    assert caught.value.status == 406
