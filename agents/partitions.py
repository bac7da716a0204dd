"""The partitions a worker holds of a topic: taken over, followed by offset, flushed, released.

Both phases live by the same rules; what they hold of a partition (`Work`) differs.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

from faust.types import TP, StreamT

from agents.context import Context
from analytics.errors import TransportError
from analytics.process import crash
from analytics.transport.batch import consumer_of
from analytics.transport.records import RecordBatch
from tables.changelog import SegmentTable
from tables.partition import TablePartition
from tables.segments import Recovered


class Work(Protocol):
    """What is held of a partition."""

    @property
    def applied(self) -> int:
        """Highest offset taken in, -1 while there is none."""


W = TypeVar("W", bound=Work)


@dataclass(slots=True)
class Held(Generic[W]):
    """One partition that this worker owns."""

    partition: int
    work: W
    state: TablePartition
    #: The newest generation of the group in which it was ours.
    generation: int
    #: Offset the next batch must begin at; None until the consumer says where it reads from.
    next_offset: int | None = None
    #: ``applied`` of the last flush, and its monotonic time.
    flushed: int = -1
    flushed_at: float = 0.0
    flushing: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: A flush has begun and not ended well: what it took from ``work`` is nowhere durable.
    broken: bool = False


class Phase(Protocol[W]):
    """The part of an agent that knows what its work is."""

    #: Label of this phase in metrics.
    stage: str

    async def take(self, batch: RecordBatch) -> None:
        """Take a batch in, as far as `Partitions.follow` lets it."""

    def restore(self, partition: int, recovered: Recovered) -> W:
        """The work that ``recovered`` holds, or new work. Pure computing, in a thread."""

    async def claim(self, held: Held[W]) -> None:
        """Flush once under the new epoch, and tell whoever must know of it."""

    async def flush(self, held: Held[W]) -> None:
        """Make durable what changed, then set ``held.flushed``."""


class Partitions(Generic[W]):
    """The partitions of ``topic`` that this worker owns, by number."""

    def __init__(self, context: Context, topic: str, table: SegmentTable, phase: Phase[W]) -> None:
        self._context = context
        self._topic = topic
        self._table = table
        self._phase = phase
        self.held: dict[int, Held[W]] = {}

    async def consume(self, stream: StreamT[RecordBatch]) -> None:
        """An agent's body: hand every batch to the phase. Never acknowledges: the flush does.

        Faust would restart an agent that raises, with its batch counted as done. What cannot be
        taken in ends the worker instead, and the next one begins at the last flush.
        """
        async for event in cast(Any, stream).noack().events():
            try:
                await self._phase.take(event.value)
            except Exception as error:
                await self._context.app.crash(error)
                return

    async def follow(self, batch: RecordBatch) -> Held[W] | None:
        """Who takes ``batch`` in, with ``next_offset`` moved behind it; None: nobody, drop it.

        A batch fetched before a rebalance or a seek does not follow on what is applied, and what
        lies between was never taken in: reading goes back to where it should be. What was taken in
        already comes again after that, and is dropped.
        """
        held = self.held.get(batch.partition)
        if held is None or batch.generation != self._context.app.consumer_generation_id:
            return None
        if held.next_offset is None:
            # Fetched before the seek to where the state ends, which is under way.
            return None
        if batch.position > held.next_offset:
            self._context.metrics.misplaced.labels(self._phase.stage).inc()
            await consumer_of(self._context.app).reread(self._tp(held), held.next_offset)
            return None
        if batch.end <= held.next_offset:
            return None
        held.next_offset = batch.end
        return held

    def holds(self, held: Held[W]) -> bool:
        """Whether ``held`` is still ours: it may have been revoked while the caller waited."""
        return self.held.get(held.partition) is held

    async def before_revoke(self) -> None:
        """Flush every partition: they are still ours, but not for long."""
        crash.at(f"{self._phase.stage}.revoking")
        await self.flush_all()
        crash.at(f"{self._phase.stage}.revoked")

    async def flush_all(self) -> None:
        """Flush every partition; they do not wait for one another."""
        await asyncio.gather(*(self.flush(held) for held in list(self.held.values())))

    async def flush(self, held: Held[W]) -> None:
        """Make durable what changed.

        Raises TransportError when Kafka does not take it, StoodStill when it may not be ours. After
        an error no later flush of ``held`` may succeed: it would hide that rows are missing.
        """
        metrics, stage = self._context.metrics, self._phase.stage
        async with held.flushing:
            if not self.holds(held):
                return
            self._context.pulse.check()
            if held.broken:
                message = f"{self._tp(held)} has a flush that did not end: start the worker again"
                raise TransportError(message, recoverable=False)
            held.broken = True
            crash.at(f"{stage}.flushing")
            with metrics.flush_seconds.labels(stage).time():
                await self._phase.flush(held)
            held.broken = False
            if held.flushed >= 0 and self.holds(held):
                consumer_of(self._context.app).mark_durable(self._tp(held), held.flushed)
                metrics.applied.labels(stage, str(held.partition)).set(held.flushed)
                crash.at(f"{stage}.acknowledged")

    async def take_over(self, partitions: Iterable[int]) -> None:
        """Become the owner of ``partitions``, whose changelogs have just been read to the end.

        A claim outbids every owner that was read of. So the group has to confirm after the reading
        that nobody has replaced us: or a worker that was away, without knowing it, would outbid its
        successor. Who is read of after that has a newer generation, and is outbid by it.
        """
        generation = self._context.app.consumer_generation_id
        wanted = [one for one in partitions if not self._keep(one, generation)]
        read = await asyncio.gather(*(self._read(partition, generation) for partition in wanted))
        durable = {self._tp(held): held.work.applied for held in read}
        if read and await consumer_of(self._context.app).proves(durable):
            await asyncio.gather(*(self._claim(held) for held in read))
        self._count()

    def _keep(self, partition: int, generation: int) -> bool:
        """Whether a partition that is held can be gone on with.

        Not when a generation was missed: somebody who had it in that one may still claim it.
        """
        held = self.held.get(partition)
        if held is None or held.broken or not 0 <= generation - held.generation <= 1:
            return False
        if not held.state.still_ours():
            return False
        held.generation = generation
        return True

    async def _read(self, partition: int, generation: int) -> Held[W]:
        state = TablePartition(self._table, partition, self._context.producer)
        recovered = await asyncio.to_thread(state.recover, generation)
        work = await asyncio.to_thread(self._phase.restore, partition, recovered)
        return Held(partition, work, state, generation)

    async def _claim(self, held: Held[W]) -> None:
        """Claim it, unless a rebalance gives it away meanwhile, or to us once more."""
        app = self._context.app
        if held.generation != app.consumer_generation_id:
            return
        crash.at(f"{self._phase.stage}.claiming")
        await self._phase.claim(held)
        if held.generation == app.consumer_generation_id:
            self.held[held.partition] = held

    def release(self, partitions: Iterable[int]) -> None:
        """Forget partitions that now belong to somebody else."""
        for partition in partitions:
            self.held.pop(partition, None)
        self._count()

    def places(self) -> dict[TP, int]:
        """The offset that each held partition is to be read from next."""
        return {
            self._tp(held): held.work.applied + 1 if held.next_offset is None else held.next_offset
            for held in self.held.values()
        }

    def unflushed(self) -> dict[TP, int]:
        """How far each partition is flushed that has taken in more than that."""
        return {
            self._tp(held): held.flushed
            for held in self.held.values()
            if held.work.applied > held.flushed
        }

    def position(self, partition: int) -> int | None:
        """Offset to read from; None when nothing was ever applied."""
        held = self.held.get(partition)
        return None if held is None or held.work.applied < 0 else held.work.applied + 1

    def reading_from(self, partition: int, offset: int) -> None:
        """The consumer was moved to ``offset``: the next batch must begin there."""
        held = self.held.get(partition)
        if held is not None:
            held.next_offset = offset

    def committed(self, partition: int, offset: int) -> None:
        """The group accepted a commit of ``offset``."""
        crash.at(f"{self._phase.stage}.committed")
        held = self.held.get(partition)
        if held is not None:
            held.state.committed(offset)

    def _tp(self, held: Held[W]) -> TP:
        return TP(self._topic, held.partition)

    def _count(self) -> None:
        self._context.metrics.partitions.labels(self._phase.stage).set(len(self.held))
