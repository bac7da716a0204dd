"""Fakes of what the shell talks to, kept in step with the real ones; no product code imports it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple

from analytics.errors import TransportError
from analytics.transport.producer import DurableProducer, Outgoing


class Call(NamedTuple):
    """A call of a producer: which method, and the topic of its first record (empty: no record)."""

    method: Literal["append", "send"]
    topic: str


Hook = Callable[[Call], Awaitable[None]]


async def _nothing(_: Call) -> None:
    return None


class MemoryProducer(DurableProducer):
    """Keeps what it is given, by topic and partition, as a Kafka with one broker would.

    ``before`` and ``after`` are awaited round every call, so that a test can look at the moment
    between two writes, hold a call up, or fail it: raised from ``before`` nothing is written,
    raised from ``after`` everything is, but nobody learns of it.
    """

    def __init__(self) -> None:
        super().__init__({})
        self.before: Hook = _nothing
        self.after: Hook = _nothing
        self.records: dict[tuple[str, int], list[Outgoing]] = {}

    async def start(self) -> None:
        """Do nothing: it is always ready."""

    async def stop(self) -> None:
        """Do nothing: it can be used again."""

    async def append(
        self, topic: str, partition: int, entries: Sequence[tuple[bytes, bytes | None]]
    ) -> int:
        """See `DurableProducer.append`."""
        records = [Outgoing(topic, value, key, partition) for key, value in entries]
        await self._write(Call("append", topic), records)
        return len(self.records[topic, partition]) - 1

    async def send(self, records: Sequence[Outgoing]) -> None:
        """See `DurableProducer.send`; a record without a partition goes to partition 0."""
        await self._write(Call("send", records[0].topic if records else ""), records)

    async def _write(self, call: Call, records: Sequence[Outgoing]) -> None:
        await self.before(call)
        for one in records:
            self.records.setdefault((one.topic, one.partition or 0), []).append(one)
        await self.after(call)


def failing_once(method: str, topic: str = "") -> Hook:
    """A hook that fails the next call of ``method`` (to ``topic``, if given), and no later one."""
    failed = False

    async def hook(call: Call) -> None:
        nonlocal failed
        if not failed and call.method == method and topic in ("", call.topic):
            failed = True
            raise TransportError(f"{method} to {call.topic} failed", recoverable=True)

    return hook
