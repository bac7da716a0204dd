"""Both phases as a state machine: every order of reading, writing, crashing, moving and waking up.

Two workers at a time are members of the group; others were thrown out and do not know it. Each of
them can stop at any await of a flush or a takeover, for a while or for ever.

    events 0 ─ aggregate ┐ changelog, store           ┌ merge ─ queries
    events 1 ─ aggregate ┴ then partials ─▶ partials ─┘ changelog, store
"""

import sys
from collections.abc import Iterator, Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.pipeline.kafka import MERGE_UNIT, SOURCE_UNITS, UNITS, Disk, Events, Kafka, Unit
from tests.property.pipeline.oracle import Line, event_line
from tests.property.pipeline.witness import Witness
from tests.property.pipeline.worker import TO_THE_END, Worker

TICK_MS = 500
#: Wall clock while it decides nothing, and where it starts when it does.
STEADY_MS, RESTLESS_MS = 1_000_000, 15_000
FAR_FUTURE_MS = 9_000_000
ASLEEP_MAX = 2
DISKS_MAX = 4
STARTS_MAX = 4
_BAD = (b"{", b"none", b'{"id": 1}')

#: A member, or one that is asleep; 0 to 3 is the owner where one is looked for.
WHICH = st.integers(0, 5)
SOURCE = st.sampled_from(SOURCE_UNITS)
UNIT = st.sampled_from(UNITS)
#: How many pauses something runs through.
PAUSES = st.sampled_from((TO_THE_END, TO_THE_END, 1, 2, 3, 4, 5, 7, 9))
#: Entries in a record batch.
CUT = st.sampled_from((TO_THE_END, 1, 2, 3))
#: Bit n is the member that gets the unit n.
OWNERS = st.integers(0, 7)
#: Number // 3 is the time of an event and the rest its series, but for some at the end.
LINES = st.lists(st.integers(0, 69), min_size=1, max_size=5)


class Pipeline(RuleBasedStateMachine):
    """The fleet, its broker, and whoever watches them."""

    @initialize(steady=st.booleans(), owners=OWNERS)
    def begin(self, steady: bool, owners: int) -> None:
        self.kafka = Kafka()
        self.kafka.clock.wall_ms = STEADY_MS if steady else RESTLESS_MS
        self.steady = steady
        self.witness = Witness(self.kafka, steady=steady)
        self.disks: list[Disk] = []
        self.members = [self._new_worker(), self._new_worker()]
        self.asleep: list[Worker] = []
        self._assign(owners, TO_THE_END, TO_THE_END)

    # --- events and time ------------------------------------------------------------------------

    @rule(unit=SOURCE, lines=LINES, shape=st.integers(0, 5))
    def produce(self, unit: Unit, lines: list[int], shape: int) -> None:
        """Events in time, late, from the future or for the second time; and what is no event."""
        events = self.kafka.events[unit.partition]
        if not events.room(len(lines)):
            return
        made = list(_lines(events, lines))
        a_record, hole = 1 + shape % 3, shape // 3
        for first in range(0, len(made), a_record):
            events.append(made[first : first + a_record], hole)

    @rule(which=WHICH, seconds=st.sampled_from((0.3, 1.5, 6.0, 12.0)), ticks=st.integers(-20, 40))
    def a_clock_jumps(self, which: int, seconds: float, ticks: int) -> None:
        """Time passes for all; and one clock is found to be wrong, and set."""
        self.kafka.clock.seconds += seconds
        if not self.steady:
            self.kafka.clock.wall_ms += int(seconds * 1_000)
            self._worker(which).ahead_ms = ticks * TICK_MS

    # --- work -----------------------------------------------------------------------------------

    @rule(which=WHICH, unit=UNIT, n=st.integers(1, 3), pauses=PAUSES)
    def deliver(self, which: int, unit: Unit, n: int, pauses: int) -> None:
        self._deliver(self._worker(which, unit), unit, n, pauses)

    def _deliver(self, worker: Worker, unit: Unit, n: int, pauses: int = TO_THE_END) -> None:
        if worker in self.members:
            worker.finish("assume", stage=unit.stage)
        worker.finish("take", stage=unit.stage)
        # Whoever asks may do so between any two deliveries.
        for piece in [1] * n if unit == MERGE_UNIT else [n]:
            batch = worker.fetch(unit, piece) if unit in worker.flowing else None
            if worker.dead or batch is None:
                return
            worker.take(unit, batch, pauses)
            worker.check_answers()

    @rule(which=WHICH, unit=UNIT, back=st.integers(-2, 5), n=st.integers(1, 3), older=st.booleans())
    def redeliver(self, which: int, unit: Unit, back: int, n: int, older: bool) -> None:
        """Something new and something old, fetched perhaps before a seek or a rebalance."""
        worker = self._worker(which, unit)
        held = worker.held(unit)
        if held is None:
            return
        worker.finish("take", stage=unit.stage)
        if unit != MERGE_UNIT:
            self.produce(unit, [42], 0)
        batch = worker.fetch_at(unit, held.work.applied + 1 - back, max(0, back) + n, int(older))
        if batch is not None:
            worker.take(unit, batch, TO_THE_END)

    @rule(which=WHICH, unit=UNIT, cut=CUT, pauses=PAUSES)
    def flush(self, which: int, unit: Unit, cut: int, pauses: int) -> None:
        worker = self._worker(which, unit)
        if worker in self.members:
            worker.finish("assume", stage=unit.stage)
        if not worker.dead:
            worker.flush(unit, cut, pauses)

    @precondition(lambda self: any(worker.tasks for worker in (*self.members, *self.asleep)))
    @rule(at=st.integers(0, 7), pauses=PAUSES)
    def go_on(self, at: int, pauses: int) -> None:
        """With something that has stopped."""
        waiting = [
            (worker, task) for worker in (*self.asleep, *self.members) for task in worker.tasks
        ]
        worker, task = waiting[at % len(waiting)]
        worker.go_on(task, pauses)

    @rule(which=WHICH, pauses=PAUSES)
    def commit(self, which: int, pauses: int) -> None:
        self._worker(which).commit(pauses)

    @rule(unit=SOURCE, lines=LINES, commit=st.booleans())
    def all_goes_well(self, unit: Unit, lines: list[int], commit: bool) -> None:
        """Something is produced, read, flushed, perhaps committed, and merged."""
        self.produce(unit, lines, 0)
        worker = self._owner(unit)
        self._deliver(worker, unit, 1_000)
        if worker.dead:
            return
        worker.flush(unit, TO_THE_END, TO_THE_END)
        if commit and not worker.dead:
            worker.commit(TO_THE_END)
        self._deliver(self._owner(MERGE_UNIT), MERGE_UNIT, 1_000)

    # --- faults ---------------------------------------------------------------------------------

    @rule(unit=UNIT, pauses=PAUSES, cut=CUT)
    def a_write_fails(self, unit: Unit, pauses: int, cut: int) -> None:
        worker = self._owner(unit)
        worker.flush(unit, cut, pauses)
        for task in worker.under_way("flush", stage=unit.stage):
            worker.fail(task)

    @rule(unit=UNIT, pauses=PAUSES, disk=st.integers(0, 3), owners=OWNERS, heirs=PAUSES)
    def crash(self, unit: Unit, pauses: int, disk: int, owners: int, heirs: int) -> None:
        """In a flush, or after it."""
        worker = self._begin_a_flush(unit, 1 + disk, pauses)
        worker.die()
        self._replace(worker, disk)
        self._assign(owners, 1 + disk, heirs)

    @rule(unit=UNIT, pauses=PAUSES, cut=CUT, heirs=PAUSES)
    def crash_and_come_back(self, unit: Unit, pauses: int, cut: int, heirs: int) -> None:
        """As a static member, within its session: nobody else is told."""
        worker = self._begin_a_flush(unit, cut, pauses)
        worker.die()
        again = self._new_worker(worker.disk)
        self.members[self.members.index(worker)] = again
        again.assign(worker.assigned, self.kafka.generation)
        for one in sorted(worker.assigned):
            if not again.dead:
                again.assume(one, cut, heirs)

    @rule(unit=UNIT, pauses=PAUSES, disk=st.integers(0, 3), owners=OWNERS, lingers=st.booleans())
    def fall_asleep(self, unit: Unit, pauses: int, disk: int, owners: int, lingers: bool) -> None:
        """In a flush, be thrown out, and write the rest of it after that; now or at some time."""
        worker = self._begin_a_flush(unit, 1 + disk, pauses)
        if not worker.dead:
            self.asleep.append(worker)
            for oldest in self.asleep[:-ASLEEP_MAX]:
                self._end(oldest)
        self._replace(worker, disk)
        self._assign(owners, 1 + disk, TO_THE_END)
        if lingers:
            worker.finish()
            self._deliver(self._owner(MERGE_UNIT), MERGE_UNIT, 1_000)

    def _begin_a_flush(self, unit: Unit, cut: int, pauses: int) -> Worker:
        worker = self._owner(unit)
        self._deliver(worker, unit, 1_000)
        if not worker.dead:
            worker.flush(unit, cut, pauses)
        return worker

    @precondition(lambda self: self.asleep)
    @rule(which=st.integers(0, 1), owners=OWNERS)
    def wake_up_and_rejoin(self, which: int, owners: int) -> None:
        """A former owner is a member again, in the place of one that leaves."""
        leaving, self.members[which] = self.members[which], self.asleep.pop()
        leaving.revoke()
        self._end(leaving)
        self._assign(owners, TO_THE_END, TO_THE_END)

    @rule(owners=OWNERS, cut=CUT, pauses=PAUSES)
    def rebalance(self, owners: int, cut: int, pauses: int) -> None:
        self._assign(owners, cut, pauses)

    @rule(which=WHICH, unit=UNIT)
    def lose_a_store(self, which: int, unit: Unit) -> None:
        """It is found to be broken."""
        worker = self._worker(which)
        if not worker.taking_over(unit):
            worker.disk.wipe(unit)

    @rule(unit=UNIT, drop_deletes=st.booleans(), times=st.integers(0, 4))
    def compact(self, unit: Unit, drop_deletes: bool, times: int) -> None:
        """Perhaps windows close before, so that their rows and then the deletes are gone."""
        source = unit if unit in SOURCE_UNITS else SOURCE_UNITS[0]
        for _ in range(times):
            self.all_goes_well(source, [57], True)
        self.kafka.changelogs[unit].compact(drop_deletes=drop_deletes)
        self.witness.touched(unit)

    # --- who is who -----------------------------------------------------------------------------

    def _worker(self, which: int, unit: Unit | None = None) -> Worker:
        if which >= 4 and self.asleep:
            return self.asleep[which % len(self.asleep)]
        return self.members[which % 2] if unit is None else self._owner(unit)

    def _owner(self, unit: Unit) -> Worker:
        return next(worker for worker in self.members if unit in worker.assigned)

    def _new_worker(self, disk: Disk | None = None) -> Worker:
        return Worker(self.kafka, self.witness, disk or Disk())

    def _end(self, worker: Worker) -> None:
        worker.die()
        if worker in self.asleep:
            self.asleep.remove(worker)
        if worker.disk not in self.disks:
            self.disks = [worker.disk, *self.disks][:DISKS_MAX]

    def _replace(self, worker: Worker, disk: int) -> None:
        """Another process in the place of one that is gone, on a free disk or a new one."""
        if worker.dead:
            self._end(worker)
        held = self.disks.pop(disk) if disk < len(self.disks) else None
        self.members[self.members.index(worker)] = self._new_worker(held)

    def _assign(self, owners: int, cut: int, pauses: int) -> None:
        """A rebalance. Who dies in it is replaced, and there is another one."""
        for worker in self.members:
            worker.revoke()
        self.kafka.generation += 1
        self._bury()
        units = [
            frozenset(unit for n, unit in enumerate(UNITS) if owners >> n & 1 == member)
            for member in range(2)
        ]
        for worker, assigned in zip(self.members, units, strict=True):
            worker.assign(assigned, self.kafka.generation)
        for worker, assigned in zip(self.members, units, strict=True):
            for unit in sorted(assigned):
                if not worker.dead:
                    worker.assume(unit, cut, pauses)

    def _bury(self) -> bool:
        """Replace members that ended themselves; whether there were any."""
        ended = [worker for worker in self.members if worker.dead]
        for worker in ended:
            self._replace(worker, DISKS_MAX)
        return bool(ended)

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def everything_is_as_promised(self) -> None:
        if not hasattr(self, "members") or sys.exc_info()[0] is not None:
            return  # nothing is promised of what has failed already, and it has said why
        for worker in [worker for worker in self.asleep if worker.dead]:
            self._end(worker)
        for _ in range(STARTS_MAX):
            if not self._bury():
                break
            self._assign(0b100, TO_THE_END, TO_THE_END)
        else:
            raise AssertionError("the fleet does not come up")
        for worker in (*self.members, *self.asleep):
            worker.check_answers()
        self.witness.check_changelogs()

    def teardown(self) -> None:
        """Left alone, the fleet comes to what a plain loop makes of the logs."""
        if not hasattr(self, "members") or sys.exc_info()[0] is not None:
            return  # nothing is promised of what has failed already, and it has said why
        for worker in (*self.asleep, *self.members):
            worker.finish()
        for worker in list(self.asleep):
            self._end(worker)
        self._assign(0b100, TO_THE_END, TO_THE_END)
        self.everything_is_as_promised()
        self._drain()
        self._drain()
        held = self._owner(MERGE_UNIT).held(MERGE_UNIT)
        assert held is not None
        lineages = [self._owner(unit).lineage(unit) for unit in SOURCE_UNITS]
        self.witness.check_end(held.work, lineages)

    def _drain(self) -> None:
        """Read, flush and commit everything there is, phase 1 first: it feeds phase 2."""
        self.kafka.clock.seconds += 2
        for unit in UNITS:
            worker = self._owner(unit)
            while (batch := worker.fetch(unit, 1_000)) is not None:
                worker.take(unit, batch, TO_THE_END)
            worker.flush(unit, TO_THE_END, TO_THE_END)
        for worker in self.members:
            worker.commit(TO_THE_END)
        self.everything_is_as_promised()


def _lines(events: Events, numbers: Sequence[int]) -> Iterator[Line]:
    for number in numbers:
        if number >= 66:
            yield Line(_BAD[number % 3])
        elif number >= 63 and events.lines:
            yield events.lines[-number % len(events.lines)]
        else:
            ticks, series = number // 3 - 14, "abc"[number % 3]
            at_ms = max(0, events.newest_ms + ticks * TICK_MS)
            if ticks == 6:
                at_ms = FAR_FUTURE_MS
            else:
                events.newest_ms = max(events.newest_ms, at_ms)
            line = event_line(at_ms, series, len(events.lines))
            events.lines.append(line)
            yield line
