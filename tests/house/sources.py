"""Owns finding and parsing the repository's own files; must not know any house rule."""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT_ROOMS = ("analytics", "agents", "tables", "web")
PYTHON_ROOTS = (*PRODUCT_ROOMS, "benchmarks", "tests")

# Made by tools or by a run, never by us.
FOREIGN_FOLDERS = frozenset({"__pycache__", "node_modules", "build", "dist"})
RUN_FOLDERS = frozenset({ROOT / "data"})
FOREIGN_SUFFIXES = (".egg-info",)
OUR_HIDDEN_FOLDERS = frozenset({".ci", ".github"})
TEXT_BYTES_MAX = 2_000_000


@dataclass(frozen=True)
class Source:
    """One of our Python modules, parsed."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Its path from the root of the repository, as findings show it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def room(self) -> str:
        """The top-level folder it lives in."""
        return self.path.relative_to(ROOT).parts[0]

    @property
    def module(self) -> str:
        """The name under which it is imported."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> tuple[Source, ...]:
    """Return every Python module of ours, product, benchmarks and tests."""
    found = [path for path in files() if path.suffix == ".py"]
    return tuple(
        Source(path, text := path.read_text(), ast.parse(text, str(path)))
        for path in found
        if path.relative_to(ROOT).parts[0] in PYTHON_ROOTS
    )


def product_sources() -> list[Source]:
    """Return the modules that are shipped."""
    return [source for source in sources() if source.room in PRODUCT_ROOMS]


@cache
def files() -> tuple[Path, ...]:
    """Return every file that belongs to the repository, without what tools leave behind."""
    found: list[Path] = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = sorted(name for name in subfolders if _is_ours(Path(folder, name)))
        found += [Path(folder, name) for name in sorted(names)]
    return tuple(found)


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and content of every file of ours that is text of a readable size."""
    for path in files():
        if path.stat().st_size <= TEXT_BYTES_MAX:
            try:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # an image or sample data


def _is_ours(folder: Path) -> bool:
    if folder.name.startswith("."):
        return folder.name in OUR_HIDDEN_FOLDERS
    foreign = folder.name in FOREIGN_FOLDERS or folder.name.endswith(FOREIGN_SUFFIXES)
    return not foreign and folder not in RUN_FOLDERS
