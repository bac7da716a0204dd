"""Owns what the tests read from the environment; no other test module may read it."""

import os
import shutil
from pathlib import Path

import pytest


def cache_root() -> Path:
    """Return the directory that keeps downloads between runs; `ANALYTICS_TEST_CACHE` moves it."""
    chosen = os.environ.get("ANALYTICS_TEST_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "streaming-analytics"


def child_environment() -> dict[str, str]:
    """Return what a child of a test finds in its environment: ours, with a cache for bytecode.

    Where writing bytecode beside the code is forbidden, every process would compile everything it
    imports: a second of CPU for each worker.
    """
    ours = dict(os.environ)
    if ours.pop("PYTHONDONTWRITEBYTECODE", None):
        ours["PYTHONPYCACHEPREFIX"] = str(cache_root() / "bytecode")
    return ours


def on_ci() -> bool:
    """Tell whether a missing program is a failure: on CI nothing may be skipped silently."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def require_program(name: str) -> str:
    """Return the path of a program; where it is missing, skip the test, or fail it on CI."""
    path = shutil.which(name)
    if path is not None:
        return path
    if on_ci():
        pytest.fail(f"{name} is needed on CI and is not installed: see .ci/run")
    pytest.skip(f"{name} is not installed")
