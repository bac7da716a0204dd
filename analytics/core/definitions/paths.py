"""Owns the paths of fields in an event: which there are, and how they are written."""

import re
from typing import Final

FieldPath = tuple[str, ...]
"""The segments of a path: `data.country` is `("data", "country")`."""

SCALAR_ROOTS: Final = ("id", "timestamp", "type", "source")
"""Fields of the event itself; they hold one value and have no children."""

OBJECT_ROOTS: Final = ("data", "metadata")
"""Objects the producer fills; a path names something inside them."""

ID: Final[FieldPath] = ("id",)
TIMESTAMP: Final[FieldPath] = ("timestamp",)

DEPTH_MAX: Final = 8

_SEGMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def parse_path(text: str) -> FieldPath:
    """Read a dotted path.

    Raises ValueError with the rule that the text breaks.
    """
    root, *children = path = tuple(text.split("."))
    if root in SCALAR_ROOTS:
        if children:
            raise ValueError(f"must not go below {root!r}, which holds a single value")
        return path
    if root not in OBJECT_ROOTS:
        roots = ", ".join((*SCALAR_ROOTS, *(f"{name}.*" for name in OBJECT_ROOTS)))
        raise ValueError(f"must be a field path, one of {roots}")
    if not children:
        raise ValueError(f"must name a field inside {root!r}, such as {root}.country")
    if len(path) > DEPTH_MAX:
        raise ValueError(f"must be at most {DEPTH_MAX} segments deep")
    if not all(map(_SEGMENT.fullmatch, children)):
        raise ValueError(
            "must have segments of letters, digits, '_' and '-' that start with a letter or '_'"
        )
    return path


def format_path(path: FieldPath) -> str:
    """Write a path as it is read: the inverse of `parse_path`."""
    return ".".join(path)
