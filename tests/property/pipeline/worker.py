"""Owns one worker process: the real agents and tables, run by hand from one await to the next.

A task that pauses goes on when the machine says so, or never. What Faust would do with the agents
is done here: recovery of a changelog, then the takeover, then the seek; commits of what is durable;
batches that say where they were read.
"""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from agents.aggregate import Aggregate
from agents.context import Context
from agents.merge import MergeAgent
from agents.partitions import Held, Partitions
from analytics.errors import AnalyticsError, TransportError
from analytics.metrics import Metrics
from analytics.settings import Settings
from analytics.transport.producer import DurableProducer
from analytics.transport.records import RecordBatch
from tables.changelog import SegmentTable
from tests.property.pipeline.kafka import (
    MERGE_UNIT,
    SOURCES,
    TABLES,
    TOPICS,
    UNITS,
    Disk,
    Kafka,
    Unit,
)
from tests.property.pipeline.oracle import CATALOG, DISORDER_MS, EVENTS_MAX, FUTURE_MS_MAX, Lineage
from tests.property.pipeline.stand_ins import PAUSE, App, Producer, Table, Task, cut, tp_of
from tests.property.pipeline.witness import Answers, Claim, Merged, Order, Witness

SETTINGS = Settings(
    partitions=SOURCES,
    disorder_ms=DISORDER_MS,
    future_ms_max=FUTURE_MS_MAX,
    idle_ms=10_000,
    dedup_ids=EVENTS_MAX,
)
METRICS = Metrics()
#: So many pauses are enough for every task to end.
TO_THE_END = 10_000


@dataclass(slots=True)
class _Owned:
    """What goes with something held: since when, what a loop makes of it, what it has answered."""

    held: Held[Any]
    order: Order
    lineage: Lineage | None
    answers: Answers = field(default_factory=Answers)


class Worker:
    """A process of the fleet."""

    def __init__(self, kafka: Kafka, witness: Witness, disk: Disk) -> None:
        self.kafka = kafka
        self.witness = witness
        self.disk = disk
        self.ahead_ms = 0
        self.app = App(kafka)
        self.tasks: list[Task] = []
        self.dead = False
        self.assigned: frozenset[Unit] = frozenset()
        #: Units whose records are fetched.
        self.flowing: set[Unit] = set()
        self._running: Task | None = None
        self._owned: dict[Unit, _Owned] = {}
        producer = cast(DurableProducer, Producer(self))
        context = Context(self.app, SETTINGS, CATALOG, TOPICS, producer, METRICS)
        self._tables = {stage: Table(stage, self.app, disk) for stage in TABLES}
        panes, merged = (cast(SegmentTable, self._tables[stage]) for stage in TABLES)
        self._aggregate, self._merge = Aggregate(context, panes), MergeAgent(context, merged)

    # --- tasks ----------------------------------------------------------------------------------

    @property
    def running(self) -> Task:
        """The task that is running."""
        assert self._running is not None
        return self._running

    def start(self, kind: str, unit: Unit | None, run: Coroutine[Any, Any, Any], cut: int) -> Task:
        """Begin something without running it yet."""
        task = Task(kind, unit, run, cut)
        self.tasks.append(task)
        return task

    def go_on(self, task: Task, pauses: int) -> None:
        """Run a task through so many pauses. An error that the product raises ends the worker."""
        self._running, self.kafka.clock.reader = task, self
        try:
            for _ in range(pauses):
                task.run.send(None)
        except StopIteration:
            task.done = True
        except AnalyticsError:
            self.die()
        except BaseException:
            self.tasks.remove(task)
            raise
        finally:
            self._running = self.kafka.clock.reader = None
            self._read_along()
        if task.done:
            self.tasks.remove(task)

    def finish(self, *kinds: str, stage: str | None = None) -> None:
        """Let what is under way come to its end: all of it, or what is of a kind or a stage."""
        for task in self.under_way(*kinds, stage=stage):
            if not self.dead:
                self.go_on(task, TO_THE_END)

    def under_way(self, *kinds: str, stage: str | None = None) -> list[Task]:
        """Tasks that have not ended."""
        return [
            task
            for task in self.tasks
            if not (kinds and task.kind not in kinds)
            and not (stage and (task.unit is None or task.unit.stage != stage))
        ]

    def fail(self, task: Task) -> None:
        """Let a flush fail at its pause; the process has not noticed yet that it should end."""
        self.tasks.remove(task)
        try:
            task.run.throw(TransportError("the broker is gone", recoverable=False))
        except TransportError:
            return
        raise AssertionError("a flush survived its failure")

    def die(self) -> None:
        """End at once; the disk stays."""
        self.dead = True
        for task in self.tasks:
            task.run.close()
        self.tasks.clear()

    def _read_along(self) -> None:
        """Let the plain loop read what was just folded, by the clock of this step."""
        self.kafka.clock.reader = self
        for unit, owned in self._owned.items():
            lineage, applied = owned.lineage, owned.held.work.applied
            if lineage is not None and applied > lineage.applied:
                records = self.kafka.events[unit.partition].between(lineage.applied + 1, applied)
                lineage.read(records, self.kafka.clock.now_ms())
                lineage.applied = applied
        self.kafka.clock.reader = None

    def phase(self, unit: Unit) -> Partitions[Any]:
        """The partitions that a unit is one of."""
        phase: Partitions[Any] = (
            self._aggregate if unit.stage == "aggregate" else self._merge
        ).partitions
        return phase

    def held(self, unit: Unit) -> Held[Any] | None:
        """What is held of a unit, if it is."""
        return self.phase(unit).held.get(unit.partition)

    # --- reading --------------------------------------------------------------------------------

    def fetch(self, unit: Unit, n: int) -> RecordBatch | None:
        """The next ``n`` records."""
        tp, consumer = tp_of(unit), self.app.consumer
        batch = self.fetch_at(unit, consumer.positions[tp], n)
        consumer.ends[tp] = self.kafka.end(unit)
        if batch is not None:
            consumer.positions[tp] = batch.end
        return batch

    def fetch_at(self, unit: Unit, position: int, n: int, older: int = 0) -> RecordBatch | None:
        """Records as they were fetched from a position, perhaps in an earlier generation."""
        position = max(0, position)
        records = self.kafka.fetch(unit, position, n)
        generation = self.app.consumer_generation_id - older
        return RecordBatch(unit.partition, position, records, generation) if records else None

    def take(self, unit: Unit, batch: RecordBatch, pauses: int) -> None:
        """Hand a batch to the agent, which takes in one at a time."""
        agent = self._aggregate if unit.stage == "aggregate" else self._merge
        self.go_on(self.start("take", unit, agent.take(batch), 1), pauses)

    # --- flushing -------------------------------------------------------------------------------

    def flush(self, unit: Unit, cut: int, pauses: int) -> None:
        """Begin a flush, if none is under way."""
        held = self.held(unit)
        busy = any(task.unit == unit for task in self.under_way("flush"))
        if held is None or busy or not pauses:
            return
        task = self.start("flush", unit, self.phase(unit).flush(held), cut)
        self.go_on(task, 1)
        if task.done or self.dead:
            return
        # Its snapshot is complete, and nothing is written.
        task.claim = Claim(self._owned[unit].order, self._snapshot(unit, held))
        self.go_on(task, pauses - 1)

    def _snapshot(self, unit: Unit, held: Held[Any]) -> Lineage | Merged:
        if unit == MERGE_UNIT:
            return Merged.of(held.work)
        source, lineage = held.work.source, self.lineage(unit)
        self.kafka.clock.reader = self
        opened = frozenset((one.metric, one.start_ms) for one in source.open_panes())
        lineage.note(opened, source.state().closed, self.kafka.clock.now_ms())
        self.kafka.clock.reader = None
        return lineage.copy()

    def commit(self, pauses: int) -> None:
        """Begin to commit what is durable."""
        self.go_on(self.start("commit", None, self._commit(), 1), pauses)

    async def _commit(self) -> None:
        """Mirrors `BatchConsumer._commit`."""
        consumer, generation = self.app.consumer, self.app.consumer_generation_id
        offsets = {
            unit: consumer.durable[tp_of(unit)] + 1
            for unit in self.assigned
            if tp_of(unit) in consumer.durable
        }
        await PAUSE
        accepted = generation == self.kafka.generation
        await PAUSE
        if accepted:
            for unit, offset in offsets.items():
                if unit in self.assigned:
                    self.phase(unit).committed(unit.partition, offset)

    # --- membership -----------------------------------------------------------------------------

    def revoke(self) -> None:
        """Mirrors `BatchConsumer.on_partitions_revoked`: flush and commit while it is ours.

        A flush under way is waited for, as there is one of a partition at a time.
        """
        self.flowing.clear()
        self.finish("flush", "commit")
        for unit in UNITS:
            if not self.dead:
                self.flush(unit, TO_THE_END, TO_THE_END)
        if not self.dead:
            self.commit(TO_THE_END)
        self.app.consumer.durable.clear()

    def assign(self, units: frozenset[Unit], generation: int) -> None:
        """Mirrors `SegmentTable.on_rebalance`. Recoveries begin anew, a takeover goes on."""
        for task in self.under_way("assume"):
            if task.claim is None:
                task.run.close()
                self.tasks.remove(task)
        for unit in frozenset(UNITS) - units:
            self.phase(unit).release([unit.partition])
        self.assigned = units
        self.app.consumer_generation_id = generation

    def assume(self, unit: Unit, cut: int, pauses: int) -> None:
        """Begin to recover and take over a unit that was assigned."""
        task = self.start("assume", unit, self._assume(unit), cut)
        self.go_on(task, pauses)

    def taking_over(self, unit: Unit) -> bool:
        """Whether the changelog of a unit is read and its store not yet."""
        return any(task.unit == unit for task in self.under_way("assume"))

    async def _assume(self, unit: Unit) -> None:
        """Mirrors Faust's recovery, then `on_recovery_completed`, then `perform_seek`."""
        task, table, phase = self.running, self._tables[unit.stage], self.phase(unit)
        generation, partition = self.app.consumer_generation_id, unit.partition
        await PAUSE
        table.recovered_to[partition] = self.kafka.changelogs[unit].end - 1
        known, order = self.witness.newest(unit), self.witness.next_order(generation)
        for batch in self._unread(unit, task.cut):
            table.apply(batch)
            await PAUSE
        task.claim = Claim(order, known)
        await phase.take_over([partition])
        held = self.held(unit)
        if held is not None and (unit not in self._owned or self._owned[unit].held is not held):
            lineage = known.copy() if isinstance(known, Lineage) else None
            self._owned[unit] = _Owned(held, order, lineage)
        if generation == self.app.consumer_generation_id and unit in self.assigned:
            target = phase.position(partition) or 0
            self.app.consumer.positions[tp_of(unit)] = target
            phase.reading_from(partition, target)
            self.flowing.add(unit)

    def _unread(self, unit: Unit, n: int) -> list[RecordBatch]:
        """What the changelog has beyond the store, by ``n`` records."""
        store, log = self._tables[unit.stage].store, self.kafka.changelogs[unit]
        held = store.offset(unit.partition)
        position = 0 if held is None else held + 1
        batches: list[RecordBatch] = []
        pieces = list(cut(log.after(position - 1), n))
        for number, records in enumerate(pieces, 1):
            # Holes that compaction has left belong to the batch before them, as in Kafka.
            end = pieces[number][0].offset if number < len(pieces) else None
            batches.append(RecordBatch(unit.partition, position, records, 0, end))
            position = batches[-1].end
        return batches

    def check_answers(self) -> None:
        """Compare what queries would be answered from."""
        owned, held = self._owned.get(MERGE_UNIT), self.held(MERGE_UNIT)
        if owned is not None and held is owned.held:
            self.witness.check_merge(held.work, owned.answers)

    def lineage(self, unit: Unit) -> Lineage:
        """What a loop has made of a source partition that is held."""
        lineage = self._owned[unit].lineage
        assert lineage is not None
        return lineage
