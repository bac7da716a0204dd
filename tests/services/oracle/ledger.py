"""Owns the file of what Kafka has acknowledged: one entry a record, written as it is reported.

It stands beside the workers' files and not among them, and nothing they do can change it.
"""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_ENTRY = struct.Struct("<qqq")


class Ledger:
    """An append-only file of (record, partition, offset)."""

    def __init__(self, path: Path) -> None:
        """Make the file, which must be new."""
        self._file = path.open("xb", buffering=0)
        self._path = path

    def write(self, record: int, partition: int, offset: int) -> None:
        """Add a record that is on Kafka for good."""
        self._file.write(_ENTRY.pack(record, partition, offset))

    def read(self) -> NDArray[np.int64]:
        """All entries so far, in rows of three, ordered by partition and offset."""
        entries = np.fromfile(self._path, "<i8").reshape(-1, 3)
        return entries[np.lexsort((entries[:, 2], entries[:, 1]))]

    def close(self) -> None:
        """Write no more."""
        self._file.close()
