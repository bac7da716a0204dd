"""Owns the jars of the test broker in a cache that runs share; must not start the broker."""

import fcntl
import hashlib
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.environment import cache_root

POM = Path(__file__).with_name("pom.xml")
DOWNLOAD_SECONDS_MAX = 300


class KafkaUnavailable(RuntimeError):
    """A program or a jar that the broker needs cannot be had; the message names it."""


def kafka_version() -> str:
    """Return the broker's version, which only the pom states."""
    version = ElementTree.parse(POM).findtext("properties/kafka.version")
    if version is None:
        raise KafkaUnavailable(f"{POM.name} states no kafka.version")
    return version


def ensure_jars() -> Path:
    """Return the directory of the jars, downloading them first when they are not there.

    Blocks, for minutes on a first run. Safe in several processes at once: one downloads, the others
    wait. A directory counts only with its stamp, so a download that was interrupted starts again.
    """
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    directory = root / f"kafka-{kafka_version()}"
    stamp = directory / "complete"
    wanted = hashlib.sha256(POM.read_bytes()).hexdigest()
    with _locked(root / f"{directory.name}.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(directory, ignore_errors=True)
            _download(directory)
            stamp.write_text(wanted)
    return directory


def _download(directory: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable("Maven is needed to fetch Kafka: install it (Debian: maven)")
    command = [
        maven,
        *("--quiet", "--batch-mode", "--file", str(POM)),
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={directory}",
    ]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise KafkaUnavailable(f"Maven fetched no Kafka in {DOWNLOAD_SECONDS_MAX} s") from error
    if run.returncode != 0:
        raise KafkaUnavailable(f"Maven could not fetch Kafka:\n{run.stdout}{run.stderr}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on a file; the kernel frees it when a process dies."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
