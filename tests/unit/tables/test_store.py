"""The local RocksDB of a table: what it keeps, and what becomes of it when the disk betrays it."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rocksdict import Options, Rdict

from analytics.errors import StoreError
from analytics.transport.topic_ids import NO_ID
from tables.segments import Entry
from tables.store import Store

VALUE = bytes(range(256))
OLD, NEW = b"o" * 16, b"n" * 16


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "panes")
    yield made
    made.close_all()


def held(store: Store, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
    return list(store.entries(0, prefix))


def test_a_new_partition_holds_nothing(store: Store) -> None:
    assert store.offset(0) is None
    assert held(store) == []


def test_a_write_keeps_entries_and_the_offset_they_end_at(store: Store) -> None:
    store.write(0, [Entry(b"s2", b"two"), Entry(b"m1", b"one")], 41)
    store.write(0, [Entry(b"s2", None), Entry(b"s3", b"three")], 43)
    assert store.offset(0) == 43
    assert held(store) == [(b"m1", b"one"), (b"s3", b"three")]
    assert held(store, b"s") == [(b"s3", b"three")]


def test_partitions_are_apart(store: Store) -> None:
    store.write(0, [Entry(b"s", b"zero")], 1)
    store.write(1, [Entry(b"s", b"one")], 2)
    assert list(store.entries(1)) == [(b"s", b"one")]
    assert (store.offset(0), store.offset(1)) == (1, 2)


def test_what_was_written_is_there_after_a_restart(store: Store, tmp_path: Path) -> None:
    store.write(0, [Entry(b"s", b"value")], 7)
    store.close_all()
    again = Store(tmp_path / "panes")
    assert (again.offset(0), held(again)) == (7, [(b"s", b"value")])
    again.close_all()


WRITES = st.lists(
    st.lists(
        st.builds(Entry, st.sampled_from([b"m", b"s1", b"s2"]), st.none() | st.binary(max_size=3)),
        max_size=5,
    ),
    max_size=6,
)


@given(writes=WRITES)
@settings(max_examples=40)
def test_whatever_is_written_replaced_and_deleted_the_rest_is_complete(
    writes: list[list[Entry]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store, expected = Store(Path(directory)), dict[bytes, bytes | None]()
        for offset, entries in enumerate(writes):
            store.write(0, entries, offset)
            expected.update({entry.key: entry.value for entry in entries})
        left = {key: value for key, value in expected.items() if value is not None}
        assert dict(store.entries(0)) == left
        store.close_all()


def test_a_store_that_has_lost_an_entry_unnoticed_is_no_complete_one(tmp_path: Path) -> None:
    """RocksDB drops what lies behind a hole in its log, and takes the rest for all there is."""
    store = Store(tmp_path)
    store.write(0, [Entry(b"m", b"marker"), Entry(b"s1", b"one"), Entry(b"s2", b"two")], 7)
    store.close_all()
    [path] = [path.parent for path in tmp_path.rglob("CURRENT")]
    database = Rdict(str(path), options=Options(raw_mode=True))
    database.delete(b"s1")
    database.close()
    again = Store(tmp_path)
    assert again.offset(0) == 7
    with pytest.raises(StoreError, match="not all of what was written"):
        held(again)
    again.close_all()


def test_a_wiped_partition_is_empty_and_usable(store: Store) -> None:
    store.write(0, [Entry(b"s", b"value")], 7)
    store.wipe(0)
    assert (store.offset(0), held(store)) == (None, [])
    store.write(0, [Entry(b"s", b"new")], 0)
    assert held(store) == [(b"s", b"new")]


def test_a_store_in_use_by_another_process_is_left_alone_and_says_what_to_do(
    store: Store, tmp_path: Path
) -> None:
    store.write(0, [Entry(b"s", b"value")], 7)
    program = (
        "import sys; from pathlib import Path; from tables.store import Store\n"
        f"Store(Path({str(tmp_path / 'panes')!r})).offset(0)"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert "StoreError" in other.stderr and "--data-dir" in other.stderr
    assert held(store) == [(b"s", b"value")]


def filled(directory: Path) -> Path:
    """A closed database of one partition that has all kinds of files; its path."""
    store = Store(directory)
    for number in range(40):
        store.write(0, [Entry(b"s%06d" % (100 * number + i), VALUE) for i in range(100)], number)
        if number == 20:
            store.close_all()  # what is in the log so far becomes a file of its own
    store.close_all()
    store.offset(0)  # opened once more: the log becomes a file as well
    store.close_all()
    return directory / "0"


def overwrite(file: Path, at: int, n: int) -> None:
    content = bytearray(file.read_bytes())
    content[at : at + n] = bytes(byte ^ 0xFF for byte in content[at : at + n])
    file.write_bytes(content)


def newest(path: Path, pattern: str) -> Path:
    return max(path.glob(pattern), key=lambda file: file.stat().st_mtime_ns)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


BREAKAGES: dict[str, Callable[[Path], None]] = {
    "no CURRENT": lambda path: (path / "CURRENT").unlink(),
    "CURRENT overwritten": lambda path: overwrite(path / "CURRENT", 0, 8),
    "manifest overwritten": lambda path: overwrite(newest(path, "MANIFEST-*"), 10, 4),
    "data file cut": lambda path: cut(newest(path, "*.sst")),
    "data file gone": lambda path: newest(path, "*.sst").unlink(),
    "end of a data file overwritten": lambda path: overwrite(
        newest(path, "*.sst"), newest(path, "*.sst").stat().st_size - 20, 10
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_store_that_cannot_be_opened_is_wiped_so_that_recovery_fills_it(
    name: str, tmp_path: Path
) -> None:
    BREAKAGES[name](filled(tmp_path / "panes"))
    store = Store(tmp_path / "panes")
    assert store.offset(0) is None
    assert held(store) == []
    store.write(0, [Entry(b"s", b"new")], 0)
    assert held(store) == [(b"s", b"new")]
    store.close_all()


def test_a_broken_block_is_an_error_and_not_the_end_of_the_entries(tmp_path: Path) -> None:
    """RocksDB's cursor stops at a block that fails its checksum, as if nothing came after it."""
    file = newest(filled(tmp_path / "panes"), "*.sst")
    overwrite(file, file.stat().st_size // 2, 1)
    store = Store(tmp_path / "panes")
    with pytest.raises(StoreError, match="unreadable"):
        held(store)
    store.close_all()


def test_a_store_whose_offset_cannot_be_read_is_wiped(tmp_path: Path) -> None:
    path = filled(tmp_path / "panes")
    for file in path.glob("*.sst"):
        overwrite(file, 0, 60)
    store = Store(tmp_path / "panes")
    assert store.offset(0) is None
    assert held(store) == []
    store.close_all()


def test_a_log_torn_by_a_crash_loses_whole_writes_and_their_offset_with_them(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "panes")
    for number in range(20):
        store.write(0, [Entry(b"s%03d" % number, VALUE)], number)
    shutil.copytree(tmp_path / "panes", tmp_path / "crashed")
    store.close_all()
    cut(newest(tmp_path / "crashed" / "0", "*.log"))
    again = Store(tmp_path / "crashed")
    offset = again.offset(0)
    assert offset is not None and offset < 19
    assert len(held(again)) == offset + 1
    again.close_all()


def test_a_path_that_is_no_directory_is_an_error_that_says_where(tmp_path: Path) -> None:
    (tmp_path / "panes").mkdir()
    (tmp_path / "panes" / "0").write_text("in the way")
    with pytest.raises(StoreError, match="panes/0"):
        Store(tmp_path / "panes").offset(0)


def test_an_open_store_takes_a_bounded_number_of_files_and_bytes(
    store: Store, tmp_path: Path
) -> None:
    for number in range(64):
        store.write(0, [Entry(b"s%d" % (number % 4), bytes(200_000))], number)
    size = sum(file.stat().st_size for file in (tmp_path / "panes" / "0").iterdir())
    assert size < 40 << 20  # 13 MB were written, of which 0.8 MB count


def of_the_old_changelog(directory: Path) -> Store:
    """A store that holds two entries of a changelog, and is told of another one."""
    store = Store(directory)
    store.follow(OLD)
    store.write(0, [Entry(b"m1", VALUE), Entry(b"s1", VALUE)], 70)
    store.follow(NEW)
    return store


def test_an_offset_of_a_changelog_that_is_gone_is_none_of_the_new_one(tmp_path: Path) -> None:
    """The new one may have grown beyond it."""
    store = of_the_old_changelog(tmp_path)
    assert (store.offset(0), held(store)) == (None, [])
    assert store.outlived(0) == {b"m1": VALUE, b"s1": VALUE}
    store.write(0, [Entry(b"m2", VALUE)], 3)
    store.close_all()
    again = Store(tmp_path)
    again.follow(NEW)
    assert again.offset(0) == 3
    assert again.outlived(0).keys() == {b"m1", b"s1"}
    again.forget_outlived(0)
    assert again.outlived(0) == {}
    again.close_all()


def test_a_changelog_without_an_id_is_taken_for_the_one_that_was_followed(tmp_path: Path) -> None:
    store = of_the_old_changelog(tmp_path)
    store.follow(NO_ID)
    assert store.offset(0) == 70
    store.close_all()


def test_a_broken_store_of_a_changelog_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    store = of_the_old_changelog(tmp_path)
    assert store.offset(0) is None
    overwrite(next((tmp_path / "0.outlived").glob("*.sst")), 0, 60)
    assert store.outlived(0) == {}
    store.close_all()


def test_a_disk_that_cannot_be_read_does_not_pass_for_a_store_without_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held of the changelog that is gone may be the only copy."""
    store = of_the_old_changelog(tmp_path)
    assert store.offset(0) is None

    def refuse(*_: object) -> None:
        raise Exception("IO error: Too many open files")

    monkeypatch.setattr(store, "_rocksdb", refuse)
    with pytest.raises(StoreError, match="check the disk"):
        store.outlived(0)
    monkeypatch.undo()
    assert store.outlived(0)
    store.close_all()


def test_a_store_that_cannot_be_set_aside_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = of_the_old_changelog(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError("Directory not empty")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="cannot be set aside"):
        store.offset(0)
    monkeypatch.undo()
    assert store.offset(0) is None
    assert store.outlived(0)
    store.close_all()
