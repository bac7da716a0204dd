"""Local RocksDB of one table: a database a partition, bounded, rebuilt when it is broken."""

import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import rocksdict
import structlog
from rocksdict import AccessType, BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from analytics.errors import StoreError
from tables.segments import Entry

log = structlog.get_logger(__name__)

#: Faust's bookkeeping: the changelog offset up to which a database holds the changelog.
OFFSET_KEY = b"o"

WRITE_BUFFER_BYTES = 8 << 20
BLOCK_CACHE_BYTES = 32 << 20
OPEN_FILES_MAX = 64


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
        # One cache for all partitions: RocksDB's default would be one of its own for each.
        self._cache = Cache(BLOCK_CACHE_BYTES)

    def offset(self, partition: int) -> int | None:
        """Newest changelog offset this partition holds, None when it holds nothing."""
        with self._lock:
            try:
                value = self._database(partition).get(OFFSET_KEY)
            except StoreError:
                raise
            except Exception as error:  # rocksdict raises plain Exception for corruption
                log.warning("wiped a broken store", path=self._name(partition), error=str(error))
                self.wipe(partition)
                value = None
            return None if value is None else int.from_bytes(value, "big")

    def write(self, partition: int, entries: Iterable[Entry], offset: int) -> None:
        """Write ``entries`` and the changelog offset they end at, all or nothing.

        Raises StoreError when the disk does not take them.
        """
        batch = WriteBatch(raw_mode=True)
        for key, value in entries:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(OFFSET_KEY, offset.to_bytes(8, "big"))
        with self._lock:
            database = self._database(partition)
            try:
                database.write(batch)
            except Exception as error:  # rocksdict raises plain Exception for a full disk
                path = self._name(partition)
                raise StoreError(f"{path} takes no writes: is the disk full? ({error})") from error

    def entries(self, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Entries whose key begins with ``prefix``, in key order, the offset left out.

        Raises StoreError when not all of them can be read.
        """
        cursor = self._database(partition).iter()
        cursor.seek(prefix)
        while cursor.valid():
            key, value = cast(bytes, cursor.key()), cast(bytes, cursor.value())
            if not key.startswith(prefix):
                return
            if key != OFFSET_KEY:
                yield key, value
            cursor.next()
        # A cursor just ends at a broken block; `items()` would pass that off as the end of it all.
        try:
            cursor.status()
        except Exception as error:  # rocksdict raises plain Exception for corruption
            raise StoreError(f"{self._name(partition)} is unreadable: {error}") from error

    def close(self, partition: int) -> None:
        """Close a partition's database, if open, so that another process may take it."""
        with self._lock:
            database = self._open.pop(partition, None)
            if database is not None:
                database.close()

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

    def _database(self, partition: int) -> Rdict:
        with self._lock:
            database = self._open.get(partition)
            if database is None:
                database = self._open[partition] = self._opened(partition)
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
            log.warning("wiped a broken store", path=str(path), error=str(error))
            shutil.rmtree(path, ignore_errors=True)
            try:
                return self._rocksdb(path)
            except Exception as again:
                raise StoreError(f"{path} cannot be opened: check the disk ({again})") from again

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
