"""Owns a table of a worker that never starts, for tests of tables; asserts nothing."""

from pathlib import Path

import faust

from tables.changelog import SegmentTable

PARTITIONS = 4


def table(directory: Path, name: str = "panes") -> SegmentTable:
    """A table of an application that nothing is connected to."""
    app = faust.App("worker", store="memory://", autodiscover=False)
    made = SegmentTable(app, name=name, partitions=PARTITIONS, directory=directory)
    app.tables.add(made)
    return made
