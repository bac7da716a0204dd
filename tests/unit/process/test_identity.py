"""Owns how a worker keeps its name, and that no two processes have the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from analytics.app import create_app
from analytics.configuration import load_configuration
from analytics.errors import StoreError
from analytics.process.identity import Identity

URL = "http://worker:6066"


def test_a_worker_has_the_same_name_in_its_next_life(tmp_path: Path) -> None:
    first, second = Identity(tmp_path / "new"), Identity(tmp_path / "new")
    name = first.claim(URL)
    first.release()
    assert second.claim(URL) == name
    second.release()


def test_another_directory_or_address_makes_another_name(tmp_path: Path) -> None:
    names = set()
    for directory, url in (("a", URL), ("b", URL), ("a", "http://worker:6067")):
        identity = Identity(tmp_path / directory)
        names.add(identity.claim(url))
        identity.release()
    assert len(names) == 3


def test_a_directory_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    identity.claim(URL)
    claim = (
        "import sys, pathlib; from analytics.process.identity import Identity;"
        f"Identity(pathlib.Path(sys.argv[1])).claim({URL!r})"
    )
    command = [sys.executable, "-c", claim, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another worker uses it" in run.stderr
    identity.release()
    identity.release()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


async def test_a_worker_claims_its_directory_before_anything_else_uses_it(tmp_path: Path) -> None:
    """Faust would make it, but not its parents, and end with a traceback."""
    directory = tmp_path / "new" / "deep"
    app = create_app(load_configuration(None, {}, {"data_dir": str(directory)}))
    await app.on_first_start()
    assert (directory / app.conf.id / "worker.id").read_text()
    app.identity.release()


def test_a_directory_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file cannot be used as a data directory"):
        Identity(tmp_path / "file").claim(URL)
