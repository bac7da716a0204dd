"""Owns what a line must satisfy before its JSON is read; it must not know what an event is.

The decoder alone would not do: it does not look at the encoding of strings that it skips, and how
deeply it can follow a document depends on how deep the caller's stack already is. Both answers must
be the same for every owner of a partition, so they are given here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from analytics.core.events.lines import body, is_blank
from analytics.core.events.reasons import Reason, Refusal, refuse

DEPTH_MAX: Final = 512
"""Deepest nesting of an event; well below the depth at which the decoder gives up."""

# A level takes two bytes at least, so a line this short cannot be nested too deeply. The limit on
# the depth is as generous as it is so that most events need no closer look.
_SHALLOW_BYTES: Final = 2 * (DEPTH_MAX + 1) - 1
# An unfinished string runs to the end of the line, which keeps the search linear.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_SHOWN_BYTES: Final = 40


def screen(
    lines: Sequence[bytes], sizes: Sequence[int], line_bytes_max: int, *, ascii_only: bool
) -> dict[int, Refusal]:
    """Why a line cannot be an event, whatever it says, by index; most often there is none.

    `sizes` are the lengths of the lines; `ascii_only` spares the search for broken characters.
    """
    refusals: dict[int, Refusal] = {}
    # The line feed between them keeps one line from completing a character of another.
    if not (ascii_only or _is_utf8(b"\n".join(lines))):
        refusals |= {
            index: refuse(
                Reason.INVALID_UTF8, "a line must be UTF-8", ascii(body(line)[:_SHOWN_BYTES])
            )
            for index, line in enumerate(lines)
            if not _is_utf8(line)
        }
    bytes_unseen = min(line_bytes_max, _SHALLOW_BYTES)
    if max(sizes) > bytes_unseen:
        for index, size in enumerate(sizes):
            if size > bytes_unseen and (refusal := _outsized(lines[index], line_bytes_max)):
                refusals[index] = refusal
    return refusals


def too_deep() -> Refusal:
    """The refusal of a line that is nested beyond DEPTH_MAX."""
    return refuse(Reason.TOO_DEEP, f"objects and arrays must be nested at most {DEPTH_MAX} deep")


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _outsized(line: bytes, bytes_max: int) -> Refusal | None:
    """The refusal of a line that is too long or too deep; blank lines are neither."""
    if len(line) > bytes_max and len(body(line)) > bytes_max and not is_blank(line):
        rule = f"a line must have at most {bytes_max:,} bytes"
        return refuse(Reason.TOO_LARGE, rule, f"{len(body(line)):,}")
    if _may_be_deep(line) and _depth(line) > DEPTH_MAX:
        return too_deep()
    return None


def _may_be_deep(line: bytes) -> bool:
    """Whether the brackets of a line, those in its strings included, suffice to be too deep."""
    # For a rare byte, this is several times faster than bytes.count.
    arrays = len(line) - len(line.replace(b"[", b""))
    # An object around another value takes five bytes at least: `{"":` before it and `}` after.
    if arrays + (len(line) - 2 * arrays) // 5 < DEPTH_MAX:
        return False
    objects = len(line) - len(line.replace(b"{", b""))
    return arrays + objects > DEPTH_MAX


def _depth(line: bytes) -> int:
    """The deepest nesting of objects and arrays, brackets inside strings left out."""
    # In ASCII the two opening brackets differ in one bit, and so do the two closing ones.
    brackets = np.frombuffer(_STRING.sub(b"", line), dtype=np.uint8) | 0x20
    steps = (brackets == ord("{")).astype(np.int32) - (brackets == ord("}"))
    return int(steps.cumsum().max(initial=0))
