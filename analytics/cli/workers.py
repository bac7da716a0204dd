"""Owns running several workers on one machine; what keeps them alive is `analytics.process`."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analytics.cli.invocation import FAILED
from analytics.cli.signals import stopping
from analytics.log import configure_logging
from analytics.process.child import ChildProcess
from analytics.process.supervisor import Supervisor
from analytics.settings import Settings

#: A worker ends itself within 20 s of being asked to.
STOP_SECONDS_MAX = 25.0


@dataclass(frozen=True, slots=True)
class Workers:
    """So many workers, from the port and in the data directory of the settings on."""

    processes: int
    settings: Settings
    config_dir: Path | None

    @property
    def first_port(self) -> int:
        """Port of the first one."""
        from analytics.app import PORT_DEFAULT

        return self.settings.port or PORT_DEFAULT

    @property
    def last_port(self) -> int:
        """Port of the last one."""
        return self.first_port + self.processes - 1

    def children(self) -> Iterator[tuple[str, ChildProcess]]:
        """The processes, by name."""
        config = () if self.config_dir is None else ("--config", str(self.config_dir))
        program = (sys.executable, "-m", "analytics", *config, "worker")
        for number in range(self.processes):
            name = f"worker-{number}"
            directory = Path(self.settings.data_dir) / name
            where = ("--port", str(self.first_port + number), "--data-dir", str(directory))
            yield name, ChildProcess([*program, *where])


def keep_running(workers: Workers) -> int:
    """Run them until Ctrl-C or SIGTERM; 0 when all of them ended in order, 1 otherwise."""
    configure_logging()
    return 0 if asyncio.run(_run(workers)) else FAILED


async def _run(workers: Workers) -> bool:
    with stopping() as stop:
        return await Supervisor(list(workers.children())).run(stop, STOP_SECONDS_MAX)
