"""Owns the producer of a test with faults: it keeps its pace, and knows what is on Kafka for good.

A thread of its own sends; nothing that happens to a broker for some minutes makes it lose a record.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from tests.services.oracle.events import EventStream, Lines
from tests.services.oracle.ledger import Ledger
from tests.services.oracle.tally import Tally
from tests.services.workers import Deployment

#: How long a record may be under way: longer than any broker is away in a test.
DELIVERY_SECONDS_MAX = 600
FLUSH_SECONDS_MAX = 180.0
#: Records are made for so many seconds at a time, so that a reader's bound is close.
TURN_SECONDS = 0.02
RECORDS_A_TURN_MAX = 500

Delivered = Callable[[KafkaError | None, Message], None]


class Sending:
    """Sends a stream at ``rate`` events a second until the end; a context manager.

    ``sent`` counts the lines that are events and were handed to the producer, ``acked`` those that
    Kafka has confirmed; ``newest_ms`` is the latest event time among those sent.
    """

    def __init__(
        self, deployment: Deployment, stream: EventStream, ledger: Ledger, tally: Tally
    ) -> None:
        self._topic = deployment.topics.events
        self._stream, self._ledger, self._tally = stream, ledger, tally
        self._producer = Producer(
            {
                "bootstrap.servers": deployment.bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": DELIVERY_SECONDS_MAX * 1_000,
                "linger.ms": 5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 1_000_000,
                "reconnect.backoff.max.ms": 500,
                "retry.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._rate = float(stream.rate)
        self._owed = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sending")
        self._error: BaseException | None = None
        self.records = self.sent = self.acked = 0
        self.newest_ms = 0
        self.failed: dict[int, str] = {}

    def __enter__(self) -> Self:
        """Begin to send."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send no more, and do not wait for what is under way."""
        self._ended.set()
        self._thread.join()

    def hurry(self, rate: float) -> None:
        """Send so many events a second from now on."""
        self._rate = rate

    def end(self) -> None:
        """Send no more, and wait for the acknowledgement of all that was sent."""
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        unsent = self._producer.flush(FLUSH_SECONDS_MAX)
        assert unsent == 0, f"{unsent} records were not delivered in {FLUSH_SECONDS_MAX:g} s"

    def _run(self) -> None:
        try:
            turn = time.monotonic()
            while not self._ended.wait(max(0.0, turn + TURN_SECONDS - time.monotonic())):
                last, turn = turn, time.monotonic()
                self._owed += self._rate * (turn - last) / self._stream.events_a_record
                # What is owed beyond a turn's most is owed no more after a stall of the machine.
                records = min(int(self._owed), RECORDS_A_TURN_MAX)
                self._owed = min(self._owed - records, 4.0 * RECORDS_A_TURN_MAX)
                if records:
                    self._send(self._stream.lines(self.records, self.records + records))
                self._producer.poll(0)
        except BaseException as error:
            self._error = error

    def _send(self, lines: Lines) -> None:
        # Before the first of them can be on Kafka, so that no answer is ahead of the tally.
        times = lines.time_ms[self._tally.add(lines).events]
        self.newest_ms = max(self.newest_ms, int(times.max(initial=0)))
        events = np.bincount(lines.record[lines.kind == 0] - self.records)
        partitions = dict(zip(lines.record.tolist(), lines.partition.tolist(), strict=True))
        for (record, value), size in zip(self._stream.values(lines), events.tolist(), strict=True):
            self._produce(value, partitions[record], partial(self._delivered, record, size))
            self.sent += size
            self.records = record + 1

    def _produce(self, value: bytes, partition: int, delivered: Delivered) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, value, partition=partition, on_delivery=delivered
                )
            except BufferError:  # a broker has been away for long: wait for room
                self._producer.poll(0.1)
            else:
                break

    def _delivered(
        self, record: int, events: int, error: KafkaError | None, message: Message
    ) -> None:
        if error is not None:
            self.failed[record] = str(error)
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        self._ledger.write(record, partition, offset)
        self.acked += events
