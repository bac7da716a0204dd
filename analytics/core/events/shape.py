"""Owns the type events are decoded into: what the metrics read, and nothing else.

msgspec skips what a type does not name several times faster than it builds it, so the type is made
from the paths in use. Members get generated attribute names: a path may hold what is no Python name
(`data.user-id`), and an attribute called `f0` can never be found on a str or an int by mistake, as
`title` or `real` would be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Final, Protocol, cast

import msgspec

from analytics.core.definitions.paths import OBJECT_ROOTS, SCALAR_ROOTS, FieldPath
from analytics.core.events.columns import member

LABEL_CHARS_MAX: Final = 128
"""Longest `id`, `type` and `source`, in characters."""

_LABEL: Final = Annotated[str, msgspec.Meta(min_length=1, max_length=LABEL_CHARS_MAX)]
_NO_OBJECT: Final = str | int | float | bool | list[msgspec.Raw] | None


class Event(Protocol):
    """What the codec itself reads of a decoded event; all the rest goes through `Shape.read`."""

    @property
    def timestamp(self) -> str | int:
        """As sent: RFC 3339 or epoch milliseconds, not yet checked."""


@dataclass(frozen=True, slots=True)
class _Route:
    """The way to a value: through generated attributes, then through the members of a dict."""

    attributes: tuple[str, ...]
    members: FieldPath


class Shape:
    """The decoded type for a set of paths, and the way to read each of them from it.

    Only `data` and `metadata` themselves must be objects. Where a path goes below a member that is
    none in some event, the event is as good as any other and the value is missing.
    """

    __slots__ = ("_routes", "event_type")

    event_type: type[Event]

    def __init__(self, paths: Iterable[FieldPath]) -> None:
        paths = frozenset(paths)
        fields: list[tuple[Any, ...]] = [
            ("id", _LABEL),
            ("timestamp", str | int),
            ("type", _LABEL),
            ("source", _LABEL),
        ]
        self._routes: dict[FieldPath, _Route] = {
            (name,): _Route((name,), ()) for name in SCALAR_ROOTS
        }
        for root in OBJECT_ROOTS:
            below = frozenset(path[1:] for path in paths if path[0] == root)
            object_type, routes = _object_type(root, below)
            fields.append((root, object_type, object_type()))
            self._routes |= _prefixed(root, root, routes)
        if unknown := paths - self._routes.keys():
            raise ValueError(f"not paths of an event: {sorted(unknown)}")
        # JSON values form trees, so nothing here can be part of a cycle: the collector may look
        # away, which saves it walking every event of a batch.
        event_type = msgspec.defstruct("Event", fields, frozen=True, gc=False)
        self.event_type = cast("type[Event]", event_type)

    def read(self, events: list[Event], path: FieldPath) -> list[object]:
        """The values of one path, as JSON made them; None where missing or null.

        Raises KeyError for a path that the shape was not made for.
        """
        route = self._routes[path]
        values: list[object]
        try:
            values = list(map(attrgetter(".".join(route.attributes)), events))
        except AttributeError:  # some event has no object where the path goes on
            values = [_follow(event, route.attributes) for event in events]
        return [member(value, route.members) for value in values] if route.members else values


def _object_type(
    name: str, paths: frozenset[FieldPath]
) -> tuple[type[msgspec.Struct], dict[FieldPath, _Route]]:
    """A type with the members that `paths` begin with, and the routes to what they end in.

    A member that paths only pass through gets a type of its own. One that a path also ends in is
    wanted whole, so it is decoded into a plain dict, and the longer paths are looked up in that.
    """
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    routes: dict[FieldPath, _Route] = {}
    for number, head in enumerate(sorted({path[0] for path in paths if path})):
        attribute = f"f{number}"
        names[attribute] = head
        below = frozenset(path[1:] for path in paths if path and path[0] == head)
        if () in below:
            fields.append((attribute, Any, None))
            routes |= {(head, *rest): _Route((attribute,), rest) for rest in below}
        else:
            child, child_routes = _object_type(head, below)
            fields.append((attribute, child | _NO_OBJECT, child()))
            routes |= _prefixed(head, attribute, child_routes)
    return msgspec.defstruct(name, fields, rename=names, frozen=True, gc=False), routes


def _prefixed(
    head: str, attribute: str, routes: Mapping[FieldPath, _Route]
) -> dict[FieldPath, _Route]:
    return {
        (head, *path): _Route((attribute, *route.attributes), route.members)
        for path, route in routes.items()
    }


def _follow(value: object, attributes: tuple[str, ...]) -> object:
    for attribute in attributes:
        value = getattr(value, attribute, None)
    return value
