"""Owns the family tree of our own classes, read from source; must not import what it reads."""

import ast
import builtins
from collections import defaultdict
from collections.abc import Iterable

from tests.house.sources import Source

Bases = dict[str, list[list[str]]]


def inheritance_depths(found: Iterable[Source]) -> dict[str, int]:
    """Return, by `path:line name`, how many of our own classes stand above each class.

    Bases are told apart by name alone: two classes of one name count as the deeper of the two.
    Exceptions are left out, because an error tree is a classification, not shared behaviour.
    """
    bases: Bases = defaultdict(list)
    places: dict[str, list[str]] = defaultdict(list)
    for source in found:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name].append([_last_name(base) for base in node.bases])
                places[node.name].append(f"{source.name}:{node.lineno} {node.name}")
    return {
        place: _depth(name, bases, ())
        for name, spots in places.items()
        if not _is_exception(name, bases, ())
        for place in spots
    }


def _depth(name: str, bases: Bases, seen: tuple[str, ...]) -> int:
    above = {base for group in bases[name] for base in group if base in bases}
    above -= {name, *seen}
    return max((1 + _depth(base, bases, (*seen, name)) for base in above), default=0)


def _is_exception(name: str, bases: Bases, seen: tuple[str, ...]) -> bool:
    builtin = getattr(builtins, name, None)
    if isinstance(builtin, type) and issubclass(builtin, BaseException):
        return True
    above = {base for group in bases.get(name, []) for base in group} - {name, *seen}
    return any(_is_exception(base, bases, (*seen, name)) for base in above)


def _last_name(base: ast.expr) -> str:
    """Return `C` of `C`, `package.C`, `C[T]`; a computed base has no name."""
    if isinstance(base, ast.Subscript):
        base = base.value
    if isinstance(base, ast.Attribute):
        return base.attr
    return base.id if isinstance(base, ast.Name) else ""
