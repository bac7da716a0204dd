"""Owns the rules on imports: direction, public names, no side effects; must not judge names."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

from tests.house.sources import PRODUCT_ROOMS, ROOT, product_sources

IMPORT_SECONDS_MAX = 50

# Runs in a process of its own, where nothing was imported before. An environment read counts when
# our own code asked for it; what a library does when it is imported is not ours to judge.
WATCH_IMPORTS = """
import importlib, json, os, sys, threading
rooms = tuple(os.path.join(sys.argv[1], room) + os.sep for room in sys.argv[2].split(","))
between = (os.__file__, "<frozen os>", "<frozen _collections_abc>")
reads, threads = [], []
read = type(os.environ).__getitem__
def watched(self, key):
    frame = sys._getframe(1)
    while frame and (frame.f_code.co_filename in between):
        frame = frame.f_back
    if frame and frame.f_code.co_filename.startswith(rooms):
        reads.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {key}")
    return read(self, key)
type(os.environ).__getitem__ = watched
for module in sys.argv[3].split(","):
    importlib.import_module(module)
    if threading.active_count() > 1:
        threads.append(module)
        break
os.write(1, json.dumps({"reads": reads, "threads": threads}).encode())
"""


def modules() -> list[str]:
    """Return the name of every shipped module that may be imported."""
    return [source.module for source in product_sources() if source.path.stem != "__main__"]


def has_public_names(tree: ast.Module) -> bool:
    """Tell whether a module assigns `__all__`."""
    return any(
        isinstance(target, ast.Name) and target.id == "__all__"
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    )


def test_imports_point_down_through_the_rooms() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_public_name_exists() -> None:
    listed = [source.module for source in product_sources() if has_public_names(source.tree)]
    assert [
        f"{name}.{public}"
        for name in listed
        for public in importlib.import_module(name).__all__
        if not hasattr(importlib.import_module(name), public)
    ] == []


def test_importing_reads_no_environment_and_starts_no_thread() -> None:
    names = modules()
    assert names
    command = [sys.executable, "-c", WATCH_IMPORTS, str(ROOT)]
    run = subprocess.run(
        [*command, ",".join(PRODUCT_ROOMS), ",".join(names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=IMPORT_SECONDS_MAX,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"reads": [], "threads": []}
