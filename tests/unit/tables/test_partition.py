"""A table partition over a changelog in memory and a real store, crashes included."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from analytics.errors import StoreError, TransportError
from analytics.testing import Call, MemoryProducer, failing_once
from analytics.transport.topic_ids import NO_ID
from tables.changelog import SegmentTable
from tables.partition import TablePartition
from tables.segments import Entry, Recovered
from tests.unit.tables.rows import counted, counts, pane
from tests.unit.tables.table import table

TOPIC = "worker-panes-changelog"
OLD, NEW = b"o" * 16, b"n" * 16


class Disks:
    """Workers that share a changelog, each with a disk of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tables: list[SegmentTable] = []
        self.producer = MemoryProducer()

    def worker(self, disk: str = "first", changelog: bytes = NO_ID) -> SegmentTable:
        """A worker that has just recovered from what is on its disk and on the changelog."""
        for one in self._tables:
            one.store.close_all()
        made = table(self._path / disk)
        self._tables.append(made)
        made.store.follow(changelog)
        self.recover(made)
        return made

    def recover(self, of: SegmentTable) -> None:
        """Read the changelog from where the store ends, as Faust does."""
        log = self.producer.records.get((TOPIC, 0), [])
        held = of.store.offset(0)
        fresh = log[0 if held is None else held + 1 :]
        if fresh:
            entries = [Entry(one.key or b"", one.value) for one in fresh]
            of.store.write(0, entries, len(log) - 1)

    async def owner(self, of: SegmentTable, generation: int = 1) -> TablePartition:
        """A partition recovered and claimed."""
        partition = TablePartition(of, 0, self.producer)
        recovered = partition.recover(generation)
        applied = -1 if recovered.marker is None else recovered.marker.applied
        await partition.flush([], [], applied, b"")
        return partition

    def read(self, disk: str) -> Recovered:
        """What a worker with that disk finds."""
        return TablePartition(self.worker(disk), 0, self.producer).recover(1)

    def close(self) -> None:
        """Close every store."""
        for one in self._tables:
            one.store.close_all()


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    made = Disks(tmp_path)
    yield made
    made.close()


async def test_a_flush_is_on_the_changelog_and_in_the_store(disks: Disks) -> None:
    owner = await disks.owner(disks.worker())
    await owner.flush([counted(pane(), "ab")], [], 3, b"state")
    for disk in ("first", "empty"):
        recovered = disks.read(disk)
        assert counts(recovered) == {0: {"a": 1, "b": 1}}
        assert recovered.marker is not None and recovered.marker.state == b"state"


async def test_the_store_gets_a_flush_only_once_the_changelog_has_it(disks: Disks) -> None:
    worker = disks.worker()
    owner = await disks.owner(worker)
    disks.producer.before = failing_once("append")
    with pytest.raises(TransportError):
        await owner.flush([counted(pane(), "a")], [], 3, b"state")
    assert disks.read("first").segments == ()


async def test_a_flush_whose_answer_was_lost_is_read_from_the_changelog(disks: Disks) -> None:
    owner = await disks.owner(disks.worker())
    disks.producer.after = failing_once("append")
    with pytest.raises(TransportError):
        await owner.flush([counted(pane(), "a")], [], 3, b"state")
    assert counts(disks.read("first")) == {0: {"a": 1}}


async def test_nothing_is_flushed_before_the_state_was_read(disks: Disks) -> None:
    partition = TablePartition(disks.worker(), 0, disks.producer)
    with pytest.raises(RuntimeError, match="recover"):
        await partition.flush([], [], 0, b"")
    assert not partition.still_ours()


async def test_the_partition_is_ours_until_somebody_else_has_claimed_it(disks: Disks) -> None:
    worker = disks.worker("first")
    owner = await disks.owner(worker, generation=1)
    assert owner.still_ours()
    other = table(disks._path / "second")
    disks.recover(other)
    await disks.owner(other, generation=2)
    other.store.close_all()
    disks.recover(worker)
    assert not owner.still_ours()


async def test_the_partition_is_not_ours_when_our_marker_was_deleted(disks: Disks) -> None:
    worker = disks.worker()
    owner = await disks.owner(worker)
    await disks.producer.append(TOPIC, 0, [(owner.owner.marker_key(), None)])
    disks.recover(worker)
    assert not owner.still_ours()


async def test_a_store_does_not_claim_to_hold_what_another_worker_wrote_in_between(
    disks: Disks,
) -> None:
    """The first worker is paused, and flushes once more after the second one took over.

    changelog   claim 1 │ claim 2  flush 2 (b) │ flush 1 (a) │
    store 1     ───────▶                         must not jump over what is missing
    """
    first = disks.worker("first")
    paused = await disks.owner(first, generation=1)
    second = table(disks._path / "second")
    disks.recover(second)
    owner = await disks.owner(second, generation=2)
    await owner.flush([counted(pane(), "b")], [], 4, b"")
    second.store.close_all()
    await paused.flush([counted(pane(), "a")], [], 2, b"")
    recovered = disks.read("first")
    assert recovered.owner == owner.owner
    assert counts(recovered) == {0: {"b": 1}}


async def test_a_store_stays_behind_when_nobody_knows_where_the_entries_are(
    disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = disks.worker("first")
    owner = await disks.owner(worker)
    append = disks.producer.append

    async def forget(topic: str, partition: int, entries: Sequence[Entry]) -> int:
        await append(topic, partition, entries)
        return -1

    with monkeypatch.context() as patched:
        patched.setattr(disks.producer, "append", forget)
        await owner.flush([counted(pane(), "a")], [], 1, b"")
    await owner.flush([counted(pane(10), "b")], [], 2, b"")
    assert worker.store.offset(0) == 0
    assert counts(disks.read("first")) == {0: {"a": 1}, 10: {"b": 1}}


async def test_an_owner_goes_on_though_a_woken_worker_wrote_in_between(disks: Disks) -> None:
    worker = disks.worker("first")
    paused = await disks.owner(worker, generation=1)
    owner = await disks.owner(worker, generation=2)
    await paused.flush([counted(pane(), "z")], [], 9, b"")
    of = pane()
    for applied in range(4):
        await owner.flush([counted(of, "b")], [], applied, b"")
    for disk in ("first", "empty"):
        assert counts(disks.read(disk)) == {0: {"b": 4}}


async def test_a_store_that_outlived_its_changelog_writes_all_of_its_state_anew(
    disks: Disks,
) -> None:
    """The topic was deleted; the disk is all there is, and after the claim the topic is again."""
    owner = await disks.owner(disks.worker("first"), generation=1)
    await owner.flush([counted(pane(), "ab"), counted(pane(10), "c")], [], 3, b"old")
    await owner.flush([counted(pane(), "a")], [], 4, b"state")
    disks.producer.records.clear()
    worker = disks.worker("first")
    worker.recovered_to = {0: -1}
    owner = await disks.owner(worker, generation=2)
    await owner.flush([counted(pane(20), "d")], [], 5, b"newer")
    for disk in ("first", "empty"):
        recovered = disks.read(disk)
        assert counts(recovered) == {0: {"a": 1, "b": 1}, 10: {"c": 1}, 20: {"d": 1}}
        assert recovered.owner == owner.owner


async def test_a_changelog_measured_before_the_own_claim_is_not_taken_for_lost(
    disks: Disks,
) -> None:
    """Partitions moved twice in a row: the second recovery began before the first claim."""
    worker = disks.worker()
    owner = await disks.owner(worker, generation=1)
    await owner.flush([counted(pane(), "ab")], [], 3, b"state")
    worker.recovered_to = {0: 1}
    owner = await disks.owner(worker, generation=2)
    entries = owner.prepare([], [], 3, b"state")
    assert [entry.key[:1] for entry in entries] == [b"m"]  # no segment is written anew


async def test_a_changelog_that_is_deleted_under_its_owner_ends_the_worker_without_a_lie(
    disks: Disks,
) -> None:
    """A marker alone would say that what it does not bring with it was applied."""
    owner = await disks.owner(disks.worker("first"), generation=1)
    of = pane()
    for applied in range(4):
        await owner.flush([counted(of, "ab")], [], applied, b"state")
    disks.producer.records.clear()
    with pytest.raises(StoreError, match="was deleted"):
        await owner.flush([counted(of, "a")], [], 4, b"state")
    assert disks.read("empty").marker is None  # nothing is known: the events are read again
    worker = disks.worker("first")
    worker.recovered_to = {0: 2}
    await disks.owner(worker, generation=2)
    for disk in ("first", "empty"):
        recovered = disks.read(disk)
        assert recovered.marker is not None and recovered.marker.applied == 3
        assert counts(recovered) == {0: {"a": 4, "b": 4}}


async def test_what_a_commit_allows_is_deleted_with_the_next_flush(disks: Disks) -> None:
    worker = disks.worker()
    owner = await disks.owner(worker)
    change = counted(pane(), "a")
    await owner.flush([change], [], 1, b"")
    await owner.flush([], [change.id], 2, b"")
    owner.committed(3)
    await owner.flush([], [], 3, b"")
    assert [key[:1] for key, _ in worker.store.entries(0)] == [b"m"]


async def test_a_flush_reads_rows_when_it_is_prepared_and_not_when_it_is_written(
    disks: Disks,
) -> None:
    """A crowded pane is written whole; rows folded while the flush waits belong to the next one."""
    owner = await disks.owner(disks.worker())
    of = pane()
    for applied in range(2):
        await owner.flush([counted(of, "ab")], [], applied, b"")
    entries = owner.prepare([counted(of, "ab")], [], 2, b"")
    counted(of, "ab")
    await owner.write(entries)
    assert counts(disks.read("empty")) == {0: {"a": 3, "b": 3}}


async def test_an_unreadable_store_is_an_error_of_the_store(disks: Disks) -> None:
    worker = disks.worker()
    owner = await disks.owner(worker)
    worker.store.write(0, [Entry(owner.owner.marker_key(), b"\xc1")], 9)
    with pytest.raises(StoreError):
        owner.recover(2)


async def test_a_store_that_was_emptied_after_its_recovery_is_not_taken_for_the_state(
    disks: Disks,
) -> None:
    await disks.owner(disks.worker())
    worker = disks.worker("emptied")
    worker.recovered_to[0] = 0
    worker.store.wipe(0)
    with pytest.raises(StoreError, match="empty now"):
        TablePartition(worker, 0, disks.producer).recover(2)


async def test_a_state_that_has_outlived_its_changelog_is_written_to_the_new_one(
    disks: Disks,
) -> None:
    worker = disks.worker(changelog=OLD)
    owner = await disks.owner(worker)
    await owner.flush([counted(pane(), "ab")], [], 3, b"state")
    disks.producer.records.clear()
    again = disks.worker(changelog=NEW)
    await disks.owner(again)
    assert again.store.outlived(0) == {}
    assert counts(disks.read("empty")) == {0: {"a": 1, "b": 1}}


async def test_of_a_state_that_has_outlived_its_changelog_and_a_newer_one_the_newer_counts(
    disks: Disks,
) -> None:
    """Another worker has written the new changelog meanwhile, beyond the offset held here.

    old log   claim 1 ─ 4 flushes: held up to offset 8
    new log   claim 2 by a worker with the same, then more flushes
    """
    worker = disks.worker(changelog=OLD)
    owner = await disks.owner(worker)
    of = pane()
    for applied in range(4):
        await owner.flush([counted(of, "a")], [], applied, b"")
    shutil.copytree(disks._path / "first", disks._path / "standby")
    disks.producer.records.clear()
    standby = table(disks._path / "standby")
    standby.store.follow(NEW)
    other = await disks.owner(standby, generation=2)
    for applied in range(4, 9):
        await other.flush([counted(of, "a")], [], applied, b"")
    standby.store.close_all()
    again = disks.worker(changelog=NEW)
    assert counts(TablePartition(again, 0, disks.producer).recover(3)) == {0: {"a": 9}}


async def test_a_flush_that_lands_on_a_changelog_made_anew_is_not_taken_for_durable(
    disks: Disks,
) -> None:
    worker = disks.worker(changelog=OLD)
    owner = await disks.owner(worker)
    disks.producer.records.clear()
    worker.store.follow(NEW)
    with pytest.raises(StoreError, match="deleted"):
        await owner.flush([counted(pane(), "a")], [], 3, b"")
    assert disks.read("empty").marker is None


async def test_the_hooks_of_the_fake_see_every_append(disks: Disks) -> None:
    seen: list[Call] = []

    async def note(call: Call) -> None:
        seen.append(call)

    disks.producer.before = note
    await disks.owner(disks.worker())
    assert seen == [Call("append", TOPIC)]
