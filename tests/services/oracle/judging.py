"""Owns the comparison of answers with what they must be; it asks nobody.

Of `ids` every digit of a sum is one event, so what is lost or counted twice is told by its number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tests.services.oracle.events import BASE, DIGITS
from tests.services.oracle.views import View

#: Each sketch's bound, and what a few hundred users may meet in 8,192 registers by chance.
ERRORS_MAX = {"distinct": (0.04, 1.5), "p50": (0.01 + 1e-9, 0.0)}
EXAMPLES = 5
INDEX = ["timestamp", "series"]
EXACT = ("count", "sum", "min", "max")
NOT_OURS = -1


@dataclass(slots=True)
class Verdict:
    """What is wrong with some answers; nothing, when `right`.

    ``lost`` and ``doubled`` count events; ``wrong`` has a text for each kind of mistake.
    """

    counted: int = 0
    lost: int = 0
    doubled: int = 0
    dead_letters: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.wrong)


def frame(view: View, rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """Rows of an answer as `Expected.rows` has them; a series nobody sent is `NOT_OURS`."""
    numbers = {key: number for number, key in enumerate(view.keys)}
    width = 1 + len(view.group_by)
    parsed = [
        (row[0], numbers.get(tuple(row[1:width]), NOT_OURS), row[width], *row[width + 1 :])
        for row in rows
    ]
    schema = dict.fromkeys((*INDEX, "count"), pl.Int64) | dict.fromkeys(
        view.functions[1:], pl.Float64
    )
    return pl.DataFrame(parsed, schema=schema, orient="row")


def compare(view: View, answer: pl.DataFrame, right: pl.DataFrame) -> list[str]:
    """A text for each kind of mistake in an answer, with examples."""
    both = _beside(answer, right)
    missing, unexpected = pl.col("count_got").is_null(), pl.col("count").is_null()
    known = ~(missing | unexpected)
    found = {"missing": missing, "unexpected": unexpected}
    found |= {name: known & pl.col(name).ne_missing(pl.col(f"{name}_got")) for name in EXACT}
    if view.sketch is not None:
        share, slack = ERRORS_MAX[view.sketch]
        error = (pl.col(f"{view.sketch}_got") - pl.col(view.sketch)).abs()
        within = error <= pl.col(view.sketch) * share + slack
        found[view.sketch] = known & ~within.fill_null(False)
    wrong = ((name, both.filter(condition)) for name, condition in found.items())
    return [
        f"{view.metric}: {name}: {len(rows)} rows, such as {_shown(view, rows)}"
        for name, rows in wrong
        if len(rows)
    ]


def account(answer: pl.DataFrame, right: pl.DataFrame, places: pl.DataFrame) -> Verdict:
    """Which events of `ids` are lost or counted too often, and how many are counted.

    ``places`` has every event's `number`, `partition` and `offset` by `timestamp` and `series`.
    """
    both = _beside(answer, right).fill_null(0)
    error = _digits(both["sum_got"]) - _digits(both["sum"])
    by_digits = error.sum(axis=1)
    # More than a digit can hold carries into the next, and the counts alone are to be believed.
    by_count = (both["count_got"] - both["count"]).to_numpy()
    error[by_digits != by_count] = 0
    carried = by_count[by_digits != by_count]
    verdict = Verdict(
        counted=int(answer["count"].sum()),
        lost=int(-error[error < 0].sum() - carried[carried < 0].sum()),
        doubled=int(error[error > 0].sum() + carried[carried > 0].sum()),
    )
    if len(carried):
        verdict.wrong.append(f"sums and counts of {len(carried)} blocks do not belong together")
    for word, at in (("lost", error < 0), ("doubled", error > 0)):
        if at.any():
            verdict.wrong.append(f"{word}: {_examples(both, at, places)}")
    return verdict


def _beside(answer: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    return right.join(answer, on=INDEX, how="full", suffix="_got", coalesce=True)


def _digits(sums: pl.Series) -> NDArray[np.int64]:
    whole = sums.to_numpy().astype(np.int64)
    digits: NDArray[np.int64] = whole[:, np.newaxis] // BASE ** np.arange(DIGITS) % BASE
    return digits


def _examples(both: pl.DataFrame, at: NDArray[np.bool_], places: pl.DataFrame) -> str:
    """The first events at fault: number, place in the log, window."""
    shown = []
    for row, digit in np.argwhere(at)[:EXAMPLES].tolist():
        timestamp, series = both.row(row)[:2]
        here = (pl.col("timestamp") == timestamp) & (pl.col("series") == series)
        same = places.filter(here & (pl.col("number") % DIGITS == digit)).head(1).to_dicts()
        where = "n={number} at {partition}/{offset}".format_map(same[0]) if same else "one not sent"
        shown.append(f"{where}, in the window at {timestamp}")
    return "; ".join(shown)


def _shown(view: View, rows: pl.DataFrame) -> str:
    keys = [*view.keys, ("not ours",)]
    examples = rows.head(EXAMPLES).to_dicts()
    return "; ".join(str(row | {"series": "/".join(keys[row["series"]])}) for row in examples)
