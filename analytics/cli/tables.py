"""Owns turning an answer into text: cells, a plain table, a table of rich; must not print."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import rich.table

    from analytics.client import Meta, Reply

TEXT_TYPES: Final = frozenset({"timestamp_ms", "string", "topk", "state"})
MISSING: Final = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows of text; `numeric[i]` says that column i is set flush right."""

    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


def of_reply(reply: "Reply", *, timestamps: bool) -> Table:
    """The rows of a reply, each with the state of its bucket; without times if there is one."""
    columns = reply.columns if timestamps else reply.columns[1:]
    states = {bucket.timestamp: bucket.state for bucket in reply.buckets}
    rows = []
    for row in reply.rows:
        shown = row if timestamps else row[1:]
        cells = [cell(value, one.type) for value, one in zip(shown, columns, strict=True)]
        rows.append((*cells, states.get(row[0], MISSING)) if timestamps else tuple(cells))
    types = [column.type for column in columns] + ["state"] * timestamps
    names = [column.name for column in columns] + ["state"] * timestamps
    return Table(
        headings=tuple(names),
        numeric=tuple(kind not in TEXT_TYPES for kind in types),
        rows=tuple(rows),
        caption=caption(reply.meta),
    )


def caption(meta: "Meta") -> str:
    """How complete an answer is, in one line."""
    if meta.data_through is None or meta.lag_ms is None:
        parts = ["no data yet"]
    else:
        parts = [f"complete through {time_text(meta.data_through)}, {meta.lag_ms:,} ms ago"]
    if meta.late_events:
        parts.append(f"{meta.late_events:,} late events left out")
    return "; ".join([*parts, *meta.degraded])


def cell(value: Any, kind: str) -> str:
    """One value as people read it."""
    if value is None:
        return MISSING
    if kind == "timestamp_ms":
        return time_text(value)
    if kind == "topk":
        return ", ".join(f"{one['value']} {one['count']:,}" for one in value)
    if kind == "float64":
        return number_text(value)
    return f"{value:,}" if kind == "uint64" else str(value)


def number_text(value: float) -> str:
    """Two decimals at the most, and four digits for what is smaller than that shows."""
    if value != 0 and abs(value) < 0.1:
        return f"{value:.4g}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def time_text(epoch_ms: int) -> str:
    """A time in UTC, to the millisecond where it has any."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    digits = "milliseconds" if epoch_ms % 1000 else "seconds"
    return moment.isoformat(sep=" ", timespec=digits).replace("+00:00", "Z")


def plain(table: Table) -> str:
    """Columns set with spaces, as long as the longest cell needs."""
    lines = [table.headings, *table.rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.headings))]
    text = [_aligned(line, widths, table.numeric) for line in lines]
    return "\n".join([*text, *([table.caption] if table.caption else [])])


def _aligned(line: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    cells = [
        text.rjust(width) if right else text.ljust(width)
        for text, width, right in zip(line, widths, numeric, strict=True)
    ]
    return "  ".join(cells).rstrip()


def rich_table(table: Table, *, title: str | None = None) -> "rich.table.Table":
    """The same for a terminal."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", caption_justify="left",
        caption=Text(table.caption) if table.caption else None,
    )  # fmt: skip
    for heading, right in zip(table.headings, table.numeric, strict=True):
        shown.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown
