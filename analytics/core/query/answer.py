"""Owns the answer to a question: its columns, how complete it is, how several become one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from analytics.core.live.metric import State

if TYPE_CHECKING:  # a question is made of functions, whose columns have the types named here
    from analytics.core.query.request import Order, Query

ColumnType: TypeAlias = Literal["timestamp_ms", "string", "uint64", "float64", "topk"]

# The worst state first: a bucket is only as complete as its least complete part.
STATES: tuple[State, ...] = ("open", "revised", "final")
KEY_TYPES = ("timestamp_ms", "string")

MISSING_COUNT = -1  # stands for null in a uint64 column

_DTYPES: dict[ColumnType, type] = {
    "timestamp_ms": np.int64,
    "string": object,
    "uint64": np.int64,
    "float64": np.float64,
    "topk": object,
}
_MISSING: dict[ColumnType, object] = {"uint64": MISSING_COUNT, "float64": np.nan, "topk": None}


@dataclass(frozen=True, slots=True)
class Column:
    """Name and type of a column.

    timestamp_ms is int64 epoch ms, string an array of str, uint64 int64 with MISSING_COUNT for
    null, float64 has NaN for null, topk holds lists of {value, count}, largest first, or None.
    The key columns (timestamp, then the groups) come first and are the only ones of their types.
    """

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket that begins at `timestamp` (epoch ms), and how settled its rows are."""

    timestamp: int
    state: State


@dataclass(frozen=True, slots=True)
class Meta:
    """How complete an answer is, and what it was made from.

    `data_through` is the event time (epoch ms) up to which everything is folded in, None while
    unknown; `lag_ms` how far that is behind the clock; `late_events` how many came too late since
    the metric began; `degraded` one sentence for each way in which the answer may fall short.
    `cached` and `took_ms` belong to the shell, which has the cache and the clock.
    """

    resolution_ms: int
    data_through: int | None
    lag_ms: int | None
    sources: tuple[str, ...]
    late_events: int
    degraded: tuple[str, ...]
    cached: bool = False
    took_ms: float = 0.0

    def given_again(self, now_ms: int) -> "Meta":
        """What holds for an answer that was found before, as nothing has changed since."""
        lag_ms = None if self.data_through is None else max(0, now_ms - self.data_through)
        return replace(self, lag_ms=lag_ms, cached=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows by column: `data[i]` is an array of `len(self)` values of `columns[i]`."""

    columns: tuple[Column, ...]
    data: tuple[NDArray[Any], ...]
    buckets: tuple[Bucket, ...]
    meta: Meta

    def __len__(self) -> int:
        """How many rows."""
        return len(self.data[0])

    @property
    def keys(self) -> int:
        """How many leading columns say what a row is about."""
        return sum(column.type in KEY_TYPES for column in self.columns)

    def column(self, name: str) -> NDArray[Any]:
        """The values of the column of this name; KeyError when there is none."""
        for column, values in zip(self.columns, self.data, strict=True):
            if column.name == name:
                return values
        raise KeyError(name)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows as tuples of plain Python values, None where a value is missing."""
        return zip(*map(plain, self.columns, self.data), strict=True)

    def take(self, index: NDArray[np.intp]) -> "Answer":
        """The rows at `index`, in its order, and the buckets that still have any."""
        data = tuple(values[index] for values in self.data)
        timestamps = set(data[0].tolist())
        buckets = tuple(bucket for bucket in self.buckets if bucket.timestamp in timestamps)
        return replace(self, data=data, buckets=buckets)


def plain(column: Column, values: NDArray[Any]) -> list[Any]:
    """A column as plain Python values: int, float, str, list, and None for null, NaN, infinity."""
    boxed: list[Any] = values.tolist()
    if column.type == "float64":
        absent = ~np.isfinite(values)
    elif column.type == "uint64":
        absent = values == MISSING_COUNT
    else:
        return boxed
    for i in np.flatnonzero(absent).tolist():
        boxed[i] = None
    return boxed


def of_plain(column: Column, values: Sequence[Any]) -> NDArray[Any]:
    """The inverse of `plain`. Raises ValueError or TypeError where a value is of another type."""
    null = _MISSING.get(column.type)
    filled = (null if value is None else value for value in values)
    return np.fromiter(filled, _DTYPES[column.type], len(values))


# --- several answers ----------------------------------------------------------------------------


def join(answers: Sequence[Answer], query: "Query") -> Answer:
    """The answer to `query` from one answer for each of its metrics, in the order it names them.

    Rows with the same timestamp and groups become one row; what a metric does not have there is
    null. Rows come by timestamp and groups, or as `orderBy` says. Order and limit are applied here,
    last and once: a part cut to its own limit could not be joined.
    """
    joined = answers[0] if len(answers) == 1 else _outer(answers)
    n = len(joined)
    if query.order_by:
        joined = joined.take(_order(joined, query.order_by)[: query.rows_max])
    elif n > query.rows_max:
        joined = joined.take(np.arange(query.rows_max))
    if n <= query.rows_max or query.limit is not None:
        return joined
    # Who asked for no limit does not expect one, so the answer has to say that it was cut.
    cut = f"limit: the first {query.rows_max} of {n} rows; ask with a limit for more"
    meta = replace(joined.meta, degraded=(*joined.meta.degraded, cut))
    return replace(joined, meta=meta)


def _outer(answers: Sequence[Answer]) -> Answer:
    keys = answers[0].keys
    key_columns = answers[0].columns[:keys]
    if any(answer.columns[: answer.keys] != key_columns for answer in answers):
        raise ValueError("answers with different key columns cannot be joined")
    numbers: dict[tuple[Any, ...], int] = {}
    found = [_number(answer, keys, numbers) for answer in answers]
    ordered = sorted(numbers)
    # From the number a key got when it was first met to its place among the sorted keys.
    place = np.empty(len(ordered), np.intp)
    place[np.fromiter(map(numbers.__getitem__, ordered), np.intp, len(ordered))] = np.arange(
        len(ordered)
    )
    columns, data = [*key_columns], _transposed(ordered, answers[0])
    for answer, rows in zip(answers, found, strict=True):
        for column, values in zip(answer.columns[keys:], answer.data[keys:], strict=True):
            spread = _missing(column, len(ordered))
            spread[place[rows]] = values
            columns.append(column)
            data.append(spread)
    return Answer(
        columns=tuple(columns),
        data=tuple(data),
        buckets=_merge_buckets(answer.buckets for answer in answers),
        meta=_merge_meta([answer.meta for answer in answers]),
    )


def _number(answer: Answer, keys: int, numbers: dict[tuple[Any, ...], int]) -> NDArray[np.intp]:
    """The number of each row's key; keys that are new get the next numbers."""
    tuples = zip(*(values.tolist() for values in answer.data[:keys]), strict=True)
    return np.fromiter(
        (numbers.setdefault(key, len(numbers)) for key in tuples), np.intp, len(answer)
    )


def _transposed(rows: Sequence[tuple[Any, ...]], like: Answer) -> list[NDArray[Any]]:
    """Key tuples as key columns of the types that `like` has."""
    return [
        np.fromiter((row[i] for row in rows), like.data[i].dtype, len(rows))
        for i in range(like.keys)
    ]


def _order(answer: Answer, orders: Sequence["Order"]) -> NDArray[np.intp]:
    """The row numbers in the order asked for; ties keep the order they have, nulls come last."""
    by_name = {column.name: column for column in answer.columns}
    keys: list[NDArray[Any]] = []
    for order in reversed(orders):  # lexsort takes its most significant key last
        rank, absent = _rank(by_name[order.field], answer.column(order.field))
        keys.append(-rank if order.descending else rank)
        keys.append(absent)
    return np.lexsort(keys)


def _rank(column: Column, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Numbers that sort as the values do, and which of the values are null."""
    if column.type == "string":
        texts = values.tolist()
        ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
        return np.fromiter(map(ranks.__getitem__, texts), np.int64, len(texts)), np.zeros(
            len(texts), np.bool_
        )
    if column.type == "float64":
        absent = np.isnan(values)
        return np.where(absent, 0.0, values), absent
    return values, values == MISSING_COUNT


def _merge_meta(metas: Sequence[Meta]) -> Meta:
    """One meta that promises no more than the least of `metas` does."""
    through = [meta.data_through for meta in metas]
    lags = [meta.lag_ms for meta in metas]
    return Meta(
        resolution_ms=max(meta.resolution_ms for meta in metas),
        data_through=None if None in through else min(ms for ms in through if ms is not None),
        lag_ms=None if None in lags else max(ms for ms in lags if ms is not None),
        sources=_union(meta.sources for meta in metas),
        late_events=sum(meta.late_events for meta in metas),
        degraded=_union(meta.degraded for meta in metas),
        cached=all(meta.cached for meta in metas),
        took_ms=max(meta.took_ms for meta in metas),
    )


def _merge_buckets(many: Iterable[Sequence[Bucket]]) -> tuple[Bucket, ...]:
    """All buckets in time order, each in the worst state that any answer gives it."""
    worst: dict[int, int] = {}
    for buckets in many:
        for bucket in buckets:
            rank = STATES.index(bucket.state)
            worst[bucket.timestamp] = min(rank, worst.get(bucket.timestamp, rank))
    return tuple(Bucket(timestamp, STATES[worst[timestamp]]) for timestamp in sorted(worst))


def _missing(column: Column, n: int) -> NDArray[Any]:
    """A column of `n` nulls."""
    return np.full(n, _MISSING[column.type], _DTYPES[column.type])


def _union(many: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for some in many for each in some))
