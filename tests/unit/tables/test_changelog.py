"""What Faust asks of a table of segments: recovery, rebalances, and the end of a recovery."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from faust.types import TP

from analytics import clock
from analytics.errors import StoreError, TransportError
from analytics.transport.records import RecordBatch
from tables.changelog import HOLE_SECONDS_MAX, SegmentStore, SegmentTable
from tests.unit.tables.table import PARTITIONS, table

TOPIC = "worker-panes-changelog"


class Record(NamedTuple):
    """A record of the changelog as a fetch returns it."""

    offset: int
    key: bytes | None
    value: bytes | None


def fetched(
    partition: int,
    *records: tuple[int, bytes | None, bytes | None],
    topic: str = TOPIC,
    position: int | None = None,
    end: int | None = None,
) -> Any:
    """A fetch of a changelog partition as Faust hands it over; records are offset, key, value."""
    start = records[0][0] if position is None else position
    batch = RecordBatch(partition, start, [Record(*one) for one in records], 1, end)
    return SimpleNamespace(message=SimpleNamespace(topic=topic), value=batch)


def apply(of: SegmentTable, batch: Iterable[Any]) -> None:
    cast(SegmentStore, of.data).apply_changelog_batch(batch, None, None)


async def test_recovered_records_reach_the_store_with_their_offset(tmp_path: Path) -> None:
    of = table(tmp_path)
    first = fetched(0, (4, b"s1", b"one"), (5, b"s2", b"two"))
    apply(of, [first, fetched(1, (7, b"s1", b"other"))])
    apply(of, [fetched(0, (6, b"s1", None), (9, b"m", b"marker"))])
    assert list(of.store.entries(0)) == [(b"m", b"marker"), (b"s2", b"two")]
    data = cast(SegmentStore, of.data)
    assert data.persisted_offset(TP(TOPIC, 0)) == 9
    assert data.persisted_offset(TP(TOPIC, 1)) == 7
    assert data.persisted_offset(TP(TOPIC, 2)) == -1
    of.store.close_all()


async def test_what_the_store_holds_already_is_not_taken_back(tmp_path: Path) -> None:
    of = table(tmp_path)
    apply(of, [fetched(0, (4, b"s", b"old"), (5, b"s", b"new"))])
    apply(of, [fetched(0, (4, b"s", b"old"))])
    apply(of, [fetched(0, (4, b"s", b"old"), (6, b"t", b"more"))])
    assert list(of.store.entries(0)) == [(b"s", b"new"), (b"t", b"more")]
    assert of.store.offset(0) == 6
    of.store.close_all()


async def test_what_was_fetched_for_another_table_is_left_out(tmp_path: Path) -> None:
    of = table(tmp_path)
    apply(of, [fetched(0, (4, b"s", b"v"), topic="worker-merged-changelog")])
    assert of.store.offset(0) is None
    of.store.close_all()


async def test_records_after_a_hole_wipe_the_store_and_end_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = table(tmp_path)
    crashes: list[BaseException] = []

    async def crash(reason: BaseException) -> None:
        crashes.append(reason)

    monkeypatch.setattr(of.app, "crash", crash)
    of.apply_changelog_batch([fetched(0, (4, b"s", b"v"))])
    # Compaction leaves holes between offsets, but none before the place that was read from.
    of.apply_changelog_batch([fetched(0, (9, b"s", b"v"), position=5)])
    assert (of.store.offset(0), crashes) == (9, [])
    of.apply_changelog_batch([fetched(0, (12, b"t", b"v"), position=11)])
    await asyncio.sleep(0)
    assert of.store.offset(0) is None
    assert "continues at 11, the local state ends at 9" in str(crashes[0])
    of.store.close_all()


async def test_a_standby_that_missed_something_goes_back_to_it(tmp_path: Path) -> None:
    of, sought = standby(tmp_path)
    recovery = recovery_of(of)
    of.apply_changelog_batch([fetched(0, (4, b"s", b"v"))])
    recovery.standby_offsets[TP(TOPIC, 0)] = 12  # Faust counts before it applies
    missing = fetched(1, (7, b"o", b"other"))
    of.apply_changelog_batch([fetched(0, (12, b"u", b"v"), position=11), missing])
    of.apply_changelog_batch([fetched(0, (13, b"v", b"v"))])
    await asyncio.sleep(0)
    assert sought == [{TP(TOPIC, 0): 5}]
    assert recovery.standby_offsets[TP(TOPIC, 0)] == 4
    assert (of.store.offset(0), of.store.offset(1)) == (4, 7)
    of.apply_changelog_batch([fetched(0, (5, b"t", b"v"), (12, b"u", b"v"))])
    of.apply_changelog_batch([fetched(0, (13, b"v", b"v"))])
    assert [key for key, _ in of.store.entries(0)] == [b"s", b"t", b"u", b"v"]
    of.store.close_all()


@pytest.mark.parametrize("why", ["it lasts", "it is taken over"])
async def test_a_hole_ends_the_worker_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    of, _ = standby(tmp_path)
    crashes: list[BaseException] = []

    async def crash(reason: BaseException) -> None:
        crashes.append(reason)

    monkeypatch.setattr(of.app, "crash", crash)
    of.apply_changelog_batch([fetched(0, (4, b"s", b"v"))])
    of.apply_changelog_batch([fetched(0, (12, b"u", b"v"), position=11)])
    await asyncio.sleep(0)
    assert not crashes
    if why == "it lasts":
        later = clock.monotonic() + HOLE_SECONDS_MAX + 1
        monkeypatch.setattr("tables.changelog.clock.monotonic", lambda: later)
    else:
        recovery_of(of).active_tps.add(TP(TOPIC, 0))
    of.apply_changelog_batch([fetched(0, (12, b"u", b"v"), position=11)])
    await asyncio.sleep(0)
    assert "continues at 11, the local state ends at 4" in str(crashes[0])
    assert of.store.offset(0) is None
    of.store.close_all()


def standby(directory: Path) -> tuple[SegmentTable, list[dict[TP, int]]]:
    """A table that is a standby of partition 0, and the seeks of its consumer."""
    of, sought = table(directory), list[dict[TP, int]]()

    async def seek_wait(partitions: dict[TP, int]) -> None:
        sought.append(partitions)

    cast(Any, of.app).consumer = SimpleNamespace(seek_wait=seek_wait)
    recovery_of(of).standby_tps.add(TP(TOPIC, 0))
    return of, sought


def recovery_of(of: SegmentTable) -> Any:
    """What Faust knows of what it recovers."""
    return cast(Any, of.app.tables).recovery


async def test_a_hole_that_compaction_left_behind_a_fetch_is_none(tmp_path: Path) -> None:
    of = table(tmp_path)
    apply(of, [fetched(0, (4, b"s", b"v"), end=8)])
    assert of.store.offset(0) == 7
    apply(of, [fetched(0, (9, b"t", b"v"), position=8)])
    assert of.store.offset(0) == 9
    apply(of, [fetched(0, (9, b"t", b"v"), position=9, end=12)])  # nothing new but the hole
    apply(of, [fetched(0, position=12, end=15)])
    assert (of.store.offset(0), len(list(of.store.entries(0)))) == (14, 2)
    of.store.close_all()


async def test_a_record_of_another_program_without_a_key_only_moves_the_offset(
    tmp_path: Path,
) -> None:
    of = table(tmp_path)
    apply(of, [fetched(0, (3, None, b"?"))])
    assert list(of.store.entries(0)) == []
    assert of.store.offset(0) == 3
    of.store.close_all()


async def test_the_changelog_is_compacted_and_named_for_the_worker_and_table(
    tmp_path: Path,
) -> None:
    of = table(tmp_path)
    assert of.changelog_topic_name == TOPIC
    assert of.changelog_topic.compacting
    assert of.changelog_topic.partitions == PARTITIONS


async def test_all_is_released_but_active_partitions_and_what_was_revoked_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = table(tmp_path)
    released: list[frozenset[int]] = []
    of.release = released.append
    monkeypatch.setattr(of.app.assignor, "assigned_actives", lambda: {TP(TOPIC, 0), TP("other", 2)})
    apply(of, [fetched(0, (0, b"s", b"v")), fetched(1, (0, b"s", b"v"))])
    revoked = {TP(TOPIC, 1), TP("events", 1), TP("another-changelog", 0)}
    await of.on_rebalance({TP(TOPIC, 0)}, revoked, set())
    # Whoever is the standby of a partition goes on reading it, but no longer owns it.
    assert released == [frozenset(range(PARTITIONS)) - {0}]
    assert list(of.store.entries(1)) == [(b"s", b"v")]  # closed, not deleted
    of.store.close_all()


async def test_active_partitions_are_taken_over_once_they_are_recovered(tmp_path: Path) -> None:
    of = table(tmp_path)
    taken: list[frozenset[int]] = []

    async def take_over(partitions: frozenset[int]) -> None:
        taken.append(partitions)

    of.take_over = take_over
    await of.on_recovery_completed({TP(TOPIC, 0), TP(TOPIC, 2)}, {TP(TOPIC, 1)})
    assert taken == [frozenset({0, 2})]


async def test_a_takeover_can_tell_how_far_the_changelog_went(tmp_path: Path) -> None:
    of = table(tmp_path)
    newest = cast(Any, of.app.tables).recovery.active_highwaters
    newest.update({TP(TOPIC, 0): 17, TP(TOPIC, 2): -1, TP("another-changelog", 1): 5})
    await of.on_recovery_completed({TP(TOPIC, 0), TP(TOPIC, 1), TP(TOPIC, 2)}, set())
    assert of.recovered_to == {0: 17, 2: -1}


@pytest.mark.parametrize("error", [StoreError("unreadable"), RuntimeError("anything")])
async def test_a_takeover_that_fails_ends_the_worker_because_faust_would_go_on(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = table(tmp_path)
    crashes: list[BaseException] = []

    async def crash(reason: BaseException) -> None:
        crashes.append(reason)

    async def take_over(_: frozenset[int]) -> None:
        raise error

    monkeypatch.setattr(of.app, "crash", crash)
    of.take_over = take_over
    apply(of, [fetched(0, (5, b"s", b"v")), fetched(1, (5, b"s", b"v"))])
    await of.on_recovery_completed({TP(TOPIC, 0)}, set())
    assert crashes == [error]
    assert [of.store.offset(partition) for partition in (0, 1)] == [5, 5]
    of.store.close_all()


async def test_a_takeover_that_fails_because_the_worker_stops_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = table(tmp_path)
    crashes: list[BaseException] = []

    async def take_over(_: frozenset[int]) -> None:
        cast(Any, of.app)._stopped.set()
        raise TransportError("the producer is not running", recoverable=False)

    monkeypatch.setattr(of.app, "crash", crashes.append)
    of.take_over = take_over
    await of.on_recovery_completed({TP(TOPIC, 0)}, set())
    assert crashes == []
    of.store.close_all()


async def test_after_a_store_that_took_no_writes_nothing_more_is_read_or_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: what it did not take must not look like a hole, which wipes a store."""
    of = table(tmp_path)
    crashes: list[BaseException] = []
    taken: list[frozenset[int]] = []

    async def crash(reason: BaseException) -> None:
        crashes.append(reason)

    async def take_over(partitions: frozenset[int]) -> None:
        taken.append(partitions)

    def full(*_: object) -> None:
        raise StoreError("takes no writes: check the disk")

    monkeypatch.setattr(of.app, "crash", crash)
    of.take_over = take_over
    of.apply_changelog_batch([fetched(0, (4, b"s", b"v"))])
    with monkeypatch.context() as disk:
        disk.setattr(of.store, "write", full)
        of.apply_changelog_batch([fetched(0, (5, b"t", b"v"))])
    of.apply_changelog_batch([fetched(0, (6, b"u", b"v"))])
    await of.on_recovery_completed({TP(TOPIC, 0)}, set())
    await asyncio.sleep(0)
    assert ([str(error) for error in crashes], taken) == (["takes no writes: check the disk"], [])
    assert (of.store.offset(0), list(of.store.entries(0))) == (4, [(b"s", b"v")])
    of.store.close_all()


async def test_a_reset_forgets_every_partition(tmp_path: Path) -> None:
    of = table(tmp_path)
    apply(of, [fetched(0, (5, b"s", b"v")), fetched(3, (5, b"s", b"v"))])
    cast(SegmentStore, of.data).reset_state()
    assert [of.store.offset(partition) for partition in range(PARTITIONS)] == [None] * PARTITIONS
    of.store.close_all()


async def test_backups_are_refused(tmp_path: Path) -> None:
    data = cast(SegmentStore, table(tmp_path).data)
    with pytest.raises(StoreError, match="changelog"):
        await data.backup_partition(0)
    with pytest.raises(StoreError, match="changelog"):
        data.restore_backup(0)


async def test_the_databases_are_closed_when_the_table_stops(tmp_path: Path) -> None:
    of = table(tmp_path)
    apply(of, [fetched(0, (5, b"s", b"v"))])
    await cast(SegmentStore, of.data).on_stop()
    other = table(tmp_path)
    assert other.store.offset(0) == 5
    other.store.close_all()
