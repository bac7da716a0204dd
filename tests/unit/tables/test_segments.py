"""Segments and markers on a changelog, one rule at a time; see test_segments.py under property."""

import pytest

from analytics.errors import StoreError
from tables import segments
from tables.segments import Entry, Owner, recover
from tests.unit.tables.rows import Changelog, counted, counts, pane, pane_id

STATE = b"state"


def test_an_empty_changelog_holds_nothing_and_can_be_owned() -> None:
    recovered = recover([], bytes(8), 1)
    assert (recovered.owner, recovered.marker, recovered.segments) == (None, None, ())
    assert recovered.log.applied == -1


def test_a_flush_comes_back_with_its_offset_and_state() -> None:
    changelog = Changelog()
    owner = changelog.owner()
    changelog.write(owner.flush([counted(pane(), "aab")], [], 7, STATE))
    recovered = changelog.read()
    assert recovered.marker is not None
    assert (recovered.marker.applied, recovered.marker.state) == (7, STATE)
    assert counts(recovered) == {0: {"a": 2, "b": 1}}


def test_segments_come_before_the_marker_that_makes_them_count_and_deletes_after_it() -> None:
    changelog = Changelog()
    owner = changelog.owner()
    changelog.write(owner.flush([counted(pane(), "a")], [], 0, STATE))
    changelog.write(owner.flush([], [pane_id()], 1, STATE))
    owner.confirm(2)
    entries = owner.flush([counted(pane(10), "a")], [], 2, STATE)
    kinds = [(entry.key[:1], entry.value is None) for entry in entries]
    assert kinds == [(b"s", False), (b"m", False), (b"s", True)]


def test_segments_without_their_marker_do_not_count_and_are_removed_later() -> None:
    changelog = Changelog()
    owner = changelog.owner()
    of = pane()
    changelog.write(owner.flush([counted(of, "a")], [], 0, STATE))
    torn = owner.flush([counted(of, "ab")], [], 2, STATE)
    changelog.write(torn[:1])
    assert counts(changelog.read()) == {0: {"a": 1}}
    successor = changelog.owner(2)
    successor.confirm(1)
    changelog.write(successor.flush([], [], 0, STATE))
    assert len(changelog.keys(b"s")) == 1


def test_a_later_segment_of_a_row_replaces_earlier_ones_across_owners() -> None:
    changelog = Changelog()
    changelog.write(changelog.owner(1).flush([counted(pane(), "aab")], [], 2, STATE))
    changelog.write(changelog.owner(2).flush([counted(pane(), "aaac")], [], 6, STATE))
    assert counts(changelog.read()) == {0: {"a": 3, "b": 1, "c": 1}}


def test_a_pane_is_written_whole_once_its_segments_hold_twice_its_rows() -> None:
    changelog = Changelog()
    owner = changelog.owner()
    of = pane()
    for applied in range(40):
        changelog.write(owner.flush([counted(of, "abc")], [], applied, STATE))
        owner.confirm(applied + 1)
        assert len(changelog.keys(b"s")) <= segments.REWRITE_FACTOR + 2
    assert counts(changelog.read()) == {0: {"a": 40, "b": 40, "c": 40}}


def test_a_pane_of_many_rows_is_written_whole_after_so_many_small_segments() -> None:
    changelog = Changelog()
    owner = changelog.owner()
    of = pane()
    changelog.write(owner.flush([counted(of, map(str, range(1000)))], [], 0, STATE))
    for applied in range(1, 60):
        changelog.write(owner.flush([counted(of, "0")], [], applied, STATE))
        owner.confirm(applied + 1)
        assert len(changelog.keys(b"s")) <= 2 * segments.REWRITE_SEGMENTS
    assert counts(changelog.read())[0]["0"] == 60


def test_a_large_flush_is_cut_into_segments_that_a_record_can_take() -> None:
    changelog = Changelog()
    owner = changelog.owner()
    keys = [f"{number:0100d}" for number in range(6000)]
    entries = owner.flush([counted(pane(), keys)], [], 0, STATE)
    assert len(entries) > 2
    assert all(len(entry.value or b"") < 2 * segments.SEGMENT_BYTES_MAX for entry in entries)
    changelog.write(entries)
    assert len(counts(changelog.read())[0]) == 6000


def test_a_closed_pane_is_deleted_only_after_a_commit_beyond_its_flush() -> None:
    changelog = Changelog()
    owner = changelog.owner()
    changelog.write(owner.flush([counted(pane(), "a")], [], 0, STATE))
    owner.confirm(1)
    changelog.write(owner.flush([], [pane_id()], 5, STATE))
    changelog.write(owner.flush([], [], 6, STATE))
    assert changelog.keys(b"s")  # offset 1 was committed before the pane was closed
    owner.confirm(7)
    changelog.write(owner.flush([], [], 7, STATE))
    assert not changelog.keys(b"s")


def test_deletes_go_from_the_oldest_to_the_newest() -> None:
    """Should only some of them be written, the rows that stay are the newest."""
    changelog, counting = Changelog(), pane()
    owner = changelog.owner()
    for offset in range(3):
        changelog.write(owner.flush([counted(counting, "a")], [], offset, STATE))
    written = changelog.keys(b"s")
    changelog.write(owner.flush([], [pane_id()], 3, STATE))
    owner.confirm(5)
    entries = owner.flush([], [], 5, STATE)
    deleted = [one.key for one in entries if one.value is None and one.key[:1] == b"s"]
    assert len(deleted) > 1
    assert deleted == written


def test_a_commit_of_an_unchanged_offset_proves_nothing() -> None:
    """It may have been issued before the flush that closed the pane without reading on."""
    changelog = Changelog()
    owner = changelog.owner()
    changelog.write(owner.flush([counted(pane(), "a")], [], 3, STATE))
    changelog.write(owner.flush([], [pane_id()], 3, STATE))
    owner.confirm(4)
    changelog.write(owner.flush([], [], 3, STATE))
    assert changelog.keys(b"s")
    owner.confirm(5)
    changelog.write(owner.flush([], [], 4, STATE))
    assert not changelog.keys(b"s")


def test_segments_inherited_from_earlier_owners_go_when_their_pane_closes() -> None:
    changelog = Changelog()
    first = changelog.owner(1)
    changelog.write(first.flush([counted(pane(), "a"), counted(pane(10), "b")], [], 1, STATE))
    second = changelog.owner(2)
    changelog.write(second.flush([counted(pane(), "c")], [], 2, STATE))
    changelog.write(second.flush([], [pane_id()], 3, STATE))
    second.confirm(4)
    changelog.write(second.flush([], [], 4, STATE))
    assert counts(changelog.read()) == {10: {"b": 1}}
    assert len(changelog.keys(b"s")) == 1
    assert len(changelog.keys(b"m")) == 1


def test_a_closed_pane_that_is_not_deleted_yet_comes_back_with_all_of_its_rows_or_none() -> None:
    """Its newest segment is newer than all that are in force.

    owner 1   #1 pane 0 {a: 1}   #2 pane 10   #3 pane 0 {a: 2}
    owner 2   closes pane 0, and is not sure enough of itself to delete it
    """
    changelog = Changelog()
    first = changelog.owner(1)
    old, other = pane(), pane(10)
    changelog.write(first.flush([counted(old, "a")], [], 0, STATE))
    changelog.write(first.flush([counted(other, "b")], [], 1, STATE))
    changelog.write(first.flush([counted(old, "a")], [], 2, STATE))
    second = changelog.owner(2)
    changelog.write(second.flush([], [pane_id()], 3, STATE))
    assert counts(changelog.read())[10] == {"b": 1}
    assert counts(changelog.read()).get(0, {"a": 2}) == {"a": 2}


def test_each_takeover_has_a_greater_epoch() -> None:
    changelog = Changelog()
    epochs = [changelog.owner(generation).owner.epoch for generation in (4, 5, 1, 1)]
    assert epochs == sorted(set(epochs))  # also after the group was deleted and began at 1 again


def test_a_worker_that_was_paused_before_its_claim_does_not_win_over_its_successor() -> None:
    """Both read the same changelog.

    generation 1   read ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ claim  flush(applied 9)
    generation 2         read claim flush(applied 4)
    """
    changelog = Changelog()
    paused = changelog.read(1).log
    owner = changelog.owner(2)
    changelog.write(owner.flush([counted(pane(), "aa")], [], 4, STATE))
    changelog.write(paused.flush([], [], -1, STATE))
    changelog.write(paused.flush([counted(pane(), "aaaaa")], [], 9, STATE))
    recovered = changelog.read(3)
    assert recovered.owner == owner.owner
    assert counts(recovered) == {0: {"a": 2}}


def test_what_a_worker_took_for_garbage_before_its_claim_may_be_counted_on_by_another() -> None:
    """The first worker's flush is torn when the second one reads, and whole when the third does.

    generation 1   claim  segment ─ ─ ─ ─ ─ ─ marker
    generation 2                  read ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ claim
    generation 3                                    read claim
    """
    changelog = Changelog()
    first = changelog.owner(1)
    segment, marker = first.flush([counted(pane(), "a")], [], 0, STATE)
    changelog.write([segment])
    second = changelog.read(2).log
    changelog.write([marker])
    changelog.owner(3)
    changelog.write(second.flush([], [], -1, STATE))
    changelog.write(second.flush([], [], -1, STATE))
    assert counts(changelog.read(4)) == {0: {"a": 1}}


def test_a_woken_worker_cannot_add_to_what_its_successor_inherited() -> None:
    changelog = Changelog()
    first = changelog.owner(1)
    of = pane()
    changelog.write(first.flush([counted(of, "a")], [], 0, STATE))
    changelog.owner(2)
    changelog.write(first.flush([counted(of, "aab")], [], 3, STATE))
    assert counts(changelog.read()) == {0: {"a": 1}}


def test_markers_of_earlier_owners_do_not_pile_up() -> None:
    changelog = Changelog()
    for generation in range(1, 20):
        owner = changelog.owner(generation)
        changelog.write(owner.flush([], [], generation, STATE))
        owner.confirm(generation + 1)
        changelog.write(owner.flush([], [], generation, STATE))
    assert changelog.keys(b"m") == [owner.owner.marker_key()]


def test_keys_sort_by_epoch_then_owner_then_sequence() -> None:
    owners = [Owner(1, b"b" * 8), Owner(2, b"a" * 8), Owner(2**40, b"a" * 8)]
    keys = [owner.segment_key(number) for owner in owners for number in (1, 2, 300)]
    assert keys == sorted(keys)
    assert owners[0].marker_key() < owners[1].epoch_key() <= owners[1].marker_key()


@pytest.mark.parametrize("kind", [b"s", b"m"])
def test_an_entry_in_force_that_cannot_be_read_is_a_store_error(kind: bytes) -> None:
    changelog = Changelog()
    changelog.write(changelog.owner().flush([counted(pane(), "a")], [], 0, STATE))
    changelog.write([Entry(changelog.keys(kind)[0], b"\xc1")])
    with pytest.raises(StoreError, match="unreadable"):
        changelog.read()


def test_garbage_that_cannot_be_read_does_no_harm() -> None:
    changelog = Changelog()
    owner = changelog.owner()
    changelog.write(owner.flush([counted(pane(), "a")], [], 0, STATE))
    changelog.write([Entry(owner.owner.segment_key(99), b"\xc1")])
    assert counts(changelog.read()) == {0: {"a": 1}}
