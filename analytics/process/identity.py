"""Owns who this worker is across restarts: a name kept in its data directory, held by one process.

Under the same name (Kafka calls it static membership, KIP-345) a worker that comes back within its
session gets its partitions back, and the rest of the fleet does not notice. Two processes with one
name would evict each other in turn, so the file is locked for as long as the process lives.
"""

import fcntl
import hashlib
import os
import secrets
from pathlib import Path

from analytics.errors import StoreError

FILE_NAME = "worker.id"


class Identity:
    """The name of the one worker that uses ``directory``, from `claim` until the process ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._descriptor: int | None = None

    def claim(self, url: str) -> str:
        """Lock the directory and return the name of the worker that serves HTTP at ``url``.

        The name changes with the URL: what the group knows of a member includes its URL, and one
        that came back elsewhere would be handed what others then look for at the old one. Raises
        StoreError when another process has the directory, or nobody can write to it.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            message = f"{self._path.parent} cannot be used as a data directory: {error.strerror}"
            raise StoreError(message) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name = os.read(descriptor, 64).decode(errors="replace").strip()
            if not name:
                name = secrets.token_hex(8)
                os.write(descriptor, name.encode())
        except OSError as error:
            os.close(descriptor)
            reason = "another worker uses it" if isinstance(error, BlockingIOError) else str(error)
            raise StoreError(
                f"{self._path.parent} cannot be used as a data directory: {reason}"
            ) from error
        self._descriptor = descriptor
        return f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"

    def release(self) -> None:
        """Let another process have the directory; safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
