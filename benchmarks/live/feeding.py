"""Owns the process that sends events at a steady rate, from its start until it has sent all."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from analytics import clock
from analytics.process.child import ChildProcess
from benchmarks.candidates.paced import Pace, Sent
from benchmarks.results import WrongResult

#: All must be acknowledged so long after the last event was due.
DRAIN_SECONDS_MAX = 30.0


class Feeder:
    """`candidates.paced` in a process of its own, which ends with the block at the latest."""

    def __init__(self, pace: Pace, directory: Path) -> None:
        self._pace = pace
        self._order = directory / "pace.json"
        program = [sys.executable, "-m", "benchmarks.candidates.paced", str(self._order)]
        self._child = ChildProcess(program, directory / "paced.log")

    def sent(self) -> Sent:
        """What became of the events; waits for it, WrongResult when it never comes."""
        file = self._order.with_suffix(".sent")
        end_ms = self._pace.start_ms + (self._pace.seconds + DRAIN_SECONDS_MAX) * 1000
        while not file.exists():
            if self._child.exit_code not in (None, 0) or clock.now_ms() > end_ms:
                raise WrongResult(f"the producer did not finish:\n{self._child.log_tail()}")
            time.sleep(0.05)
        sent = msgspec.json.decode(file.read_bytes(), type=Sent)
        if sent.acknowledged != sent.events:
            raise WrongResult(f"Kafka acknowledged {sent.acknowledged} of {sent.events} events")
        return sent

    def end(self) -> Sent:
        """Let it send no more, and tell what became of what it sent.

        WrongResult when it had sent all that it was to send, as then nobody knows since when.
        """
        self._child.terminate()
        sent = self.sent()
        if sent.events == self._pace.total:
            raise WrongResult("there were no more events before the end was wanted")
        return sent

    def __enter__(self) -> Self:
        """Start it."""
        self._order.write_bytes(msgspec.json.encode(self._pace))
        self._child.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, whatever it has sent."""
        self._child.kill()
