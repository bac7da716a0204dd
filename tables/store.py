"""Local RocksDB of one table: a database a partition, bounded, rebuilt when it is broken."""

import errno
import os
import shutil
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self, cast

import rocksdict
import structlog
import xxhash
from rocksdict import AccessType, BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from analytics.errors import StoreError
from analytics.transport.topic_ids import ID_BYTES, NO_ID
from tables.segments import Entry

log = structlog.get_logger(__name__)

#: Bookkeeping: the changelog offset up to which a database holds the changelog, and what it then
#: holds.
OFFSET_KEY = b"o"
_HELD = struct.Struct(f">QQ{ID_BYTES}s")
_SUM_MASK = (1 << 64) - 1

WRITE_BUFFER_BYTES = 8 << 20
BLOCK_CACHE_BYTES = 32 << 20
OPEN_FILES_MAX = 64

#: What is wrong with the machine and not with a database: to wipe it would only cost its content.
_NOT_BROKEN = tuple(
    os.strerror(number)
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
    )
)


def _is_not_broken(error: Exception) -> bool:
    return any(text in str(error) for text in _NOT_BROKEN)


class _Held(NamedTuple):
    """What a database says that it holds.

    RocksDB's checksums tell a broken block or record from a good one, but not that one is gone: of
    a log whose middle is zeroed, or of files that the end of a manifest would have named, what lies
    behind is taken for all there is, the newest offset with it. ``sum`` is over the hashes of all
    entries, so what is missing shows when they are read.
    """

    offset: int
    sum: int
    changelog: bytes = NO_ID

    @classmethod
    def of(cls, value: bytes) -> Self:
        return cls(*_HELD.unpack(value))

    def pack(self) -> bytes:
        return _HELD.pack(*self)


def _hash(key: bytes, value: bytes) -> int:
    return xxhash.xxh3_64_intdigest(value, xxhash.xxh3_64_intdigest(key))


class Store:
    """The partitions of one table under ``directory``. Blocking calls, each well under 10 ms.

    A database that cannot be opened or read is wiped and opened anew: the changelog has
    everything, and a worker that needs an operator after a torn write would stay down all night.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[int, Rdict] = {}
        # Flushes write from threads while the event loop opens and closes partitions.
        self._lock = threading.RLock()
        self._changelog = NO_ID
        # One cache for all partitions: RocksDB's default would be one of its own for each.
        self._cache = Cache(BLOCK_CACHE_BYTES)

    @property
    def changelog(self) -> bytes:
        """The id of the changelog that is followed."""
        return self._changelog

    def follow(self, changelog: bytes) -> None:
        """From here on offsets are those of the changelog with this id, 16 bytes.

        A database that holds another one's is set aside: see `outlived`. `NO_ID` stands for any.
        """
        with self._lock:
            if changelog != self._changelog:
                self.close_all()
                self._changelog = changelog

    def outlived(self, partition: int) -> dict[bytes, bytes]:
        """What a partition held of a changelog that is gone, until `forget_outlived`.

        Nothing where it is broken. Raises StoreError when it is the disk that is at fault: this may
        be the only copy of a state.
        """
        path = self._outlived_path(partition)
        if not path.exists():
            return {}
        try:
            database = self._rocksdb(path)
            try:
                return dict(self._entries(database, path))
            finally:
                database.close()
        except Exception as error:  # rocksdict raises plain Exception for everything
            if _is_not_broken(error):
                raise StoreError(f"{path} cannot be read: check the disk ({error})") from error
            log.warning("passed over a broken store", path=str(path), error=str(error))
            return {}

    def forget_outlived(self, partition: int) -> None:
        """What it held has been written to the changelog that is followed, or is of no use."""
        shutil.rmtree(self._outlived_path(partition), ignore_errors=True)

    def offset(self, partition: int) -> int | None:
        """Newest changelog offset this partition holds, None when it holds nothing."""
        with self._lock:
            try:
                value = self._database(partition).get(OFFSET_KEY)
                return None if value is None else _Held.of(value).offset
            except StoreError:
                raise
            except Exception as error:  # rocksdict raises plain Exception for everything
                path = self._name(partition)
                if _is_not_broken(error):
                    raise StoreError(f"{path} cannot be read: check the disk ({error})") from error
                log.warning("wiped a broken store", path=path, error=str(error))
                self.wipe(partition)
                return None

    def write(self, partition: int, entries: Iterable[Entry], offset: int) -> None:
        """Write ``entries`` and the changelog offset they end at, all or nothing.

        Raises StoreError when the disk does not take them, or the database turns out to be broken;
        it is then wiped.
        """
        with self._lock:
            database = self._database(partition)
            try:
                database.write(self._batch(database, dict(entries), offset))
            except Exception as error:  # rocksdict raises plain Exception for everything
                path = self._name(partition)
                if _is_not_broken(error):
                    raise StoreError(f"{path} takes no writes: check the disk ({error})") from error
                log.warning("wiped a broken store", path=path, error=str(error))
                self.wipe(partition)
                raise StoreError(
                    f"{path} was broken and is wiped: start the worker again, and it reads all of "
                    f"its changelog ({error})"
                ) from error

    def _batch(
        self, database: Rdict, entries: dict[bytes, bytes | None], offset: int
    ) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        held = database.get(OFFSET_KEY)
        total = 0 if held is None else _Held.of(held).sum
        for key, value in entries.items():
            replaced = database.get(key)
            if replaced is not None:
                total -= _hash(key, replaced)
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
                total += _hash(key, value)
        batch.put(OFFSET_KEY, _Held(offset, total & _SUM_MASK, self._changelog).pack())
        return batch

    def entries(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Entries whose key begins with ``prefix``, in key order, the offset left out.

        Raises StoreError when not all of them can be read; without a prefix also when they are not
        all that was written.
        """
        return self._entries(self._database(partition), self._path(partition), prefix)

    def _entries(
        self, database: Rdict, path: Path, prefix: bytes = b""
    ) -> Iterator[tuple[bytes, bytes]]:
        held, total = _Held(0, 0), 0
        cursor = database.iter()
        cursor.seek(prefix)
        while cursor.valid():
            key, value = cast(bytes, cursor.key()), cast(bytes, cursor.value())
            if not key.startswith(prefix):
                return
            if key == OFFSET_KEY:
                held = _Held.of(value)
            else:
                total += _hash(key, value)
                yield key, value
            cursor.next()
        # A cursor just ends at a broken block; `items()` would pass that off as the end of it all.
        try:
            cursor.status()
        except Exception as error:  # rocksdict raises plain Exception for corruption
            raise StoreError(f"{path} is unreadable: {error}") from error
        if not prefix and held.sum != total & _SUM_MASK:
            raise StoreError(f"{path} has not all of what was written to it")

    def close(self, partition: int) -> None:
        """Close a partition's database, if open, so that another process may take it."""
        with self._lock:
            database = self._open.pop(partition, None)
            if database is None:
                return
            try:
                database.close()
            except Exception as error:  # rocksdict raises what went wrong before, and closes it
                log.warning("closed a broken store", path=self._name(partition), error=str(error))

    def close_all(self) -> None:
        """Close every database."""
        for partition in list(self._open):
            self.close(partition)

    def wipe(self, partition: int) -> None:
        """Delete a partition's database; the next use starts an empty one."""
        with self._lock:
            self.close(partition)
            shutil.rmtree(self._path(partition), ignore_errors=True)

    def _name(self, partition: int) -> str:
        return str(self._path(partition))

    def _path(self, partition: int) -> Path:
        return self._directory / str(partition)

    def _outlived_path(self, partition: int) -> Path:
        return self._directory / f"{partition}.outlived"

    def _database(self, partition: int) -> Rdict:
        with self._lock:
            database = self._open.get(partition)
            if database is None:
                database = self._opened(partition)
                if self._is_foreign(database):
                    database.close()
                    self._set_aside(partition)
                    database = self._opened(partition)
                self._open[partition] = database
            return database

    def _opened(self, partition: int) -> Rdict:
        path = self._path(partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._rocksdb(path)
        except Exception as error:  # rocksdict raises plain Exception for everything
            if f"{path}/LOCK" in str(error):  # not just "lock": corruption speaks of blocks
                raise StoreError(
                    f"{path} is in use by another process: give each worker its own --data-dir"
                ) from error
            if _is_not_broken(error):
                raise StoreError(f"{path} cannot be opened: check the disk ({error})") from error
            log.warning("wiped a broken store", path=str(path), error=str(error))
            shutil.rmtree(path, ignore_errors=True)
            try:
                return self._rocksdb(path)
            except Exception as again:
                raise StoreError(f"{path} cannot be opened: check the disk ({again})") from again

    def _is_foreign(self, database: Rdict) -> bool:
        try:
            value = database.get(OFFSET_KEY)
            changelog = NO_ID if value is None else _Held.of(value).changelog
        except Exception:  # rocksdict raises plain Exception; `offset` will see that it is broken
            return False
        return NO_ID not in (changelog, self._changelog) and changelog != self._changelog

    def _set_aside(self, partition: int) -> None:
        log.warning("set a store aside: its changelog is gone", path=self._name(partition))
        self.forget_outlived(partition)
        try:
            self._path(partition).rename(self._outlived_path(partition))
        except OSError as error:  # not a broken store, which would be wiped
            path = self._name(partition)
            raise StoreError(f"{path} cannot be set aside: check the disk ({error})") from error

    def _rocksdb(self, path: Path) -> Rdict:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(OPEN_FILES_MAX)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        options.set_keep_log_file_num(2)
        table = BlockBasedOptions()
        table.set_block_cache(self._cache)
        options.set_block_based_table_factory(table)
        # Values are packed numbers and short strings: LZ4 halves them at a tenth of the cost.
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        return Rdict(str(path), options=options, access_type=AccessType.read_write())
