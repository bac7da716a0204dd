"""Owns what a correct answer is, recomputed from the events by polars; it knows no worker.

Quantiles are the exact values of the rank floor(q (n - 1)), counted from 0: what the sketches are
defined to approximate.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
SUM_ERROR_MAX = 1e-9
QUANTILE_ERROR_MAX = 0.01
DISTINCT_ERROR_MAX = 0.03
#: Merging follows folding by a flush or two; beyond this something is stuck.
MERGE_SECONDS_MAX = 15.0
POLL_SECONDS = 0.1
#: Two flushes: what is still on its way would arrive.
HOLD_SECONDS = 0.5
#: The bound on a quantile is the sketch's own; floating point adds its last digits.
ROUNDING = 1e-9


def truth(flights: pl.DataFrame, keys: Sequence[str], *, step_ms: int | None) -> pl.DataFrame:
    """Rows as `departures` has them: `timestamp` of the bucket, ``keys``, then the aggregates.

    Without a step all rows are of one bucket, whose timestamp is 0.
    """
    time = pl.col("time_ms")
    bucket = pl.lit(0, pl.Int64) if step_ms is None else time - time % step_ms
    delay = pl.col("dep_delay")
    return (
        flights.filter(pl.col("type") == "departure")
        .group_by(bucket.alias("timestamp"), *keys)
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            delay.sum().cast(pl.Float64).alias("sum"),
            delay.min().cast(pl.Float64).alias("min"),
            delay.max().cast(pl.Float64).alias("max"),
            *(
                _lower_quantile(delay, share).cast(pl.Float64).alias(name)
                for name, share in QUANTILES.items()
            ),
            pl.col("tailnum").drop_nulls().n_unique().cast(pl.Int64).alias("distinct"),
        )
        .sort("timestamp", *keys)
    )


def _lower_quantile(column: pl.Expr, share: float) -> pl.Expr:
    # Not `Expr.quantile`: the rank is the definition under test, so it stands here in full.
    rank = (share * (pl.len() - 1)).floor().cast(pl.UInt32)
    return column.sort().get(rank)


@dataclass(frozen=True, slots=True)
class Comparison:
    """An answer beside the truth: what is wrong, and the worst errors that were seen."""

    wrong: dict[str, pl.DataFrame]
    quantile_error: float
    distinct_error: float
    rows: int

    def __str__(self) -> str:
        shown = (
            f"{name}: {len(rows)} rows, such as\n{rows.head(5)}"
            for name, rows in self.wrong.items()
        )
        return "\n".join(shown)


def compare(
    answer: pl.DataFrame, expected: pl.DataFrame, keys: Sequence[str], *, distinct_slack: int = 1
) -> Comparison:
    """Set ``answer`` beside ``expected``: the same rows, and every aggregate within its bound.

    An estimate of distinct values may be off by ``distinct_slack``, however few they are.
    """
    index = ["timestamp", *keys]
    both = expected.join(answer, on=index, how="full", suffix="_got", coalesce=True)
    wrong = {
        "missing": both.filter(pl.col("count_got").is_null()),
        "unexpected": both.filter(pl.col("count").is_null()),
    }
    both = both.filter(pl.col("count").is_not_null() & pl.col("count_got").is_not_null())
    got = {name: pl.col(f"{name}_got").cast(pl.Float64) for name in expected.columns[len(index) :]}
    for name in ("count", "min", "max"):
        wrong[name] = both.filter(pl.col(name).ne_missing(pl.col(f"{name}_got")))
    error = (got["sum"] - pl.col("sum")).abs()
    wrong["sum"] = both.filter(~(error <= SUM_ERROR_MAX * pl.col("sum").abs()).fill_null(False))
    quantile_error = 0.0
    for name in QUANTILES:
        bound = pl.col(name).abs() * (QUANTILE_ERROR_MAX + ROUNDING)
        error = (got[name] - pl.col(name)).abs()
        wrong[name] = both.filter(~(error <= bound).fill_null(False))
        relative = both.filter(pl.col(name) != 0).select((error / pl.col(name).abs()).max()).item()
        quantile_error = max(quantile_error, relative or 0.0)
    error = (got["distinct"] - pl.col("distinct")).abs()
    bound = pl.max_horizontal(pl.lit(distinct_slack), pl.col("distinct") * DISTINCT_ERROR_MAX)
    wrong["distinct"] = both.filter(~(error <= bound).fill_null(False))
    relative = (
        both.filter(pl.col("distinct") >= 100).select((error / pl.col("distinct")).max()).item()
    )
    found = {
        name: rows.select(*index, pl.exclude(index)) for name, rows in wrong.items() if len(rows)
    }
    return Comparison(found, quantile_error, relative or 0.0, len(both))


def assert_becomes_right(
    ask: Callable[[], pl.DataFrame], expected: pl.DataFrame, keys: Sequence[str]
) -> None:
    """Ask until the answer is right, as long as merging may lag behind folding; then it must be.

    It must also stay right: it is asked for once more, a moment later. For windows of a day and
    more, in which a hundred aircraft may meet in 8,192 registers by chance.
    """
    deadline = time.monotonic() + MERGE_SECONDS_MAX
    while (found := compare(ask(), expected, keys, distinct_slack=4)).wrong:
        assert time.monotonic() < deadline, str(found)
        time.sleep(POLL_SECONDS)
    time.sleep(HOLD_SECONDS)
    found = compare(ask(), expected, keys, distinct_slack=4)
    assert not found.wrong, str(found)
