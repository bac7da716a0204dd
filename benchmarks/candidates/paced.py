"""The load of `freshness` and `query`: events at a steady rate, stamped with when they are due.

`python -m benchmarks.candidates.paced FILE` reads a `Pace` from FILE and writes a `Sent` beside it.
An event's timestamp comes from the schedule, not from the clock, so a producer that falls behind
makes every event it holds up late instead of hiding it.
"""

import random
import signal
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from analytics import clock
from benchmarks import events
from benchmarks.dataset import PARTITIONS
from benchmarks.sweeps.accounts import Accounts

PROBE = "probe"
PROBE_MS = 50
#: Of the events of accounts.
EVENT_BYTES = 950
_FLUSH_SECONDS_MAX = 30.0
_MARKED = 4096  # drawn contents, used over and over
#: Many events share a millisecond.
_text = lru_cache(maxsize=16)(events.rfc3339)


class Pace(msgspec.Struct, frozen=True):
    """What to send: event i is due at `start_ms` (epoch) + i / `rate` seconds."""

    bootstrap: str
    topic: str
    start_ms: int
    rate: int
    seconds: int
    framing: int
    seed: int
    #: With some, the events are those of so many accounts, and none is a probe.
    series: int = 0

    @property
    def total(self) -> int:
        """The number of events."""
        return self.rate * self.seconds

    @property
    def probe_every(self) -> int:
        """One of so many events is a probe, which makes one each PROBE_MS."""
        return max(1, self.rate * PROBE_MS // 1000)

    def due_ms(self, index: int) -> int:
        """The time at which an event is due, and which it carries."""
        return self.start_ms + index * 1000 // self.rate

    def lines(self) -> Iterator[bytes]:
        """The events. Each is made when it is asked for."""
        drawn = list(events.draws(_MARKED, self.seed))
        if self.series:
            accounts = Accounts(self.series, EVENT_BYTES)
            numbers = accounts.drawn(self.seed)
            for index in range(self.total):
                draw, timestamp = drawn[index % _MARKED], _text(self.due_ms(index))
                yield accounts.line(index, draw, next(numbers), timestamp)
            return
        for index in range(self.total):
            draw, probe = drawn[index % _MARKED], ""
            if index % self.probe_every == 0:
                draw, probe = draw._replace(type=PROBE), str(index // self.probe_every)
            yield events.line(index, draw, _text(self.due_ms(index)), probe)


class Sent(msgspec.Struct, frozen=True):
    """What became of it."""

    acknowledged: int  # events
    seconds: float  # from the first one's due time to the last acknowledgement
    behind_ms_max: int  # how much later than due a record was handed to the client
    events: int  # handed to the client: all, or those until it was told to end


class _Sender:
    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._producer = Producer(
            {"bootstrap.servers": pace.bootstrap, "linger.ms": 0, "acks": "all"}
        )
        self.acknowledged = 0
        self.behind_ms_max = 0
        self._ending = False

    def end(self) -> None:
        """Send no further record."""
        self._ending = True

    def run(self) -> Sent:
        pace = self._pace
        order = random.Random(pace.seed)
        lines = pace.lines()
        sent = 0
        for first in range(0, pace.total, pace.framing):
            last = min(first + pace.framing, pace.total) - 1
            self._wait_until(pace.due_ms(last))
            if self._ending:
                break
            self._producer.produce(
                pace.topic,
                b"\n".join(islice(lines, last + 1 - first)),
                partition=order.randrange(PARTITIONS),
                on_delivery=self._delivered,
            )
            self._producer.poll(0)
            sent = last + 1
        self._producer.flush(_FLUSH_SECONDS_MAX)
        seconds = (clock.now_ms() - pace.start_ms) / 1000
        return Sent(self.acknowledged, seconds, self.behind_ms_max, sent)

    def _wait_until(self, due_ms: int) -> None:
        wait_ms = due_ms - clock.now_ms()
        if wait_ms > 0:
            time.sleep(wait_ms / 1000)
        else:
            self.behind_ms_max = max(self.behind_ms_max, -wait_ms)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            value = message.value()
            self.acknowledged += value.count(b"\n") + 1 if value else 0


def main(file: Path) -> None:
    """Send what `file` says, or less of it when SIGTERM comes."""
    sender = _Sender(msgspec.json.decode(file.read_bytes(), type=Pace))
    signal.signal(signal.SIGTERM, lambda number, frame: sender.end())
    sent = sender.run()
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(sent))
    partial.rename(file.with_suffix(".sent"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
