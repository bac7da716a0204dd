"""What Faust asks of a table of segments: recovery, rebalances, and the end of a recovery."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from analytics.errors import StoreError
from tables.changelog import SegmentStore, SegmentTable
from tests.unit.tables.table import PARTITIONS, table

TOPIC = "worker-panes-changelog"


def events(*records: tuple[int, int, bytes | None, bytes | None]) -> list[Any]:
    """Changelog records as Faust hands them over: partition, offset, key, value."""
    return [
        SimpleNamespace(
            message=SimpleNamespace(partition=partition, offset=at, key=key, value=value)
        )
        for partition, at, key, value in records
    ]


def apply(of: SegmentTable, batch: Iterable[Any]) -> None:
    cast(SegmentStore, of.data).apply_changelog_batch(batch, None, None)


async def test_recovered_records_reach_the_store_with_their_offset(tmp_path: Path) -> None:
    of = table(tmp_path)
    apply(of, events((0, 4, b"s1", b"one"), (1, 7, b"s1", b"other"), (0, 5, b"s2", b"two")))
    apply(of, events((0, 6, b"s1", None), (0, 9, b"m", b"marker")))
    assert list(of.store.entries(0)) == [(b"m", b"marker"), (b"s2", b"two")]
    data = cast(SegmentStore, of.data)
    assert data.persisted_offset(TP(TOPIC, 0)) == 9
    assert data.persisted_offset(TP(TOPIC, 1)) == 7
    assert data.persisted_offset(TP(TOPIC, 2)) is None
    of.store.close_all()


async def test_a_record_of_another_program_without_a_key_only_moves_the_offset(
    tmp_path: Path,
) -> None:
    of = table(tmp_path)
    apply(of, events((0, 3, None, b"?")))
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


async def test_revoked_partitions_are_released_and_others_kept(tmp_path: Path) -> None:
    of = table(tmp_path)
    released: list[frozenset[int]] = []
    of.release = released.append
    apply(of, events((0, 0, b"s", b"v"), (1, 0, b"s", b"v")))
    revoked = {TP(TOPIC, 1), TP("events", 1), TP("another-changelog", 0)}
    await of.on_rebalance({TP(TOPIC, 0)}, revoked, set())
    assert released == [frozenset({1})]
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
    apply(of, events((0, 5, b"s", b"v"), (1, 5, b"s", b"v")))
    await of.on_recovery_completed({TP(TOPIC, 0)}, set())
    assert crashes == [error]
    # An unreadable store is wiped, so that the restarted worker reads the changelog anew.
    assert of.store.offset(0) == (None if isinstance(error, StoreError) else 5)
    assert of.store.offset(1) == 5
    of.store.close_all()


async def test_a_reset_forgets_every_partition(tmp_path: Path) -> None:
    of = table(tmp_path)
    apply(of, events((0, 5, b"s", b"v"), (3, 5, b"s", b"v")))
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
    apply(of, events((0, 5, b"s", b"v")))
    await cast(SegmentStore, of.data).on_stop()
    other = table(tmp_path)
    assert other.store.offset(0) == 5
    other.store.close_all()
