"""Owns the proof that a local store that is damaged heals by itself, and never answers for less.

The damage is what disks do: a byte becomes zero, a file ends early, a file is gone. RocksDB notices
most of it, by itself or when it reads the place; a damaged log it silently takes for an older one,
which is right as long as the offset in it is older too. What a store says it holds it must hold.
"""

import contextlib
import random
import re
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from analytics.errors import StoreError
from tables.segments import Entry
from tables.store import Store
from tests.faults.conftest import Repeats
from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, proven
from tests.services.supervisor import Supervisor
from tests.services.workers import Deployment, Worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7_200)]

SEED = 20131224
RATE = 2_000
FRESH_SECONDS_MAX = 60.0
#: Of the 16 databases of a worker, how many are damaged at once.
DAMAGED = 12
NOTICED = re.compile("wiped a broken store|is unreadable|has not all")

Entries = Mapping[bytes, bytes]


def _zero(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    newest = range(max(0, len(content) - 65_536), len(content))
    content[chance.choice([at for at in newest if content[at]])] = 0
    file.write_bytes(content)


def _cut(file: Path, chance: random.Random) -> None:
    with file.open("r+b") as opened:
        opened.truncate(chance.randrange(file.stat().st_size))


def _remove(file: Path, _: random.Random) -> None:
    file.unlink()


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that may happen to the newest file of a kind in a database."""

    name: str
    pattern: str
    do: Callable[[Path, random.Random], None]

    def can(self, path: Path) -> bool:
        """Whether the database has such a file."""
        return bool(self._files(path))

    def inflict(self, path: Path, chance: random.Random) -> None:
        """Do it to the database in ``path``, which nobody has open."""
        self.do(self._files(path)[-1], chance)

    def _files(self, path: Path) -> list[Path]:
        found = [file for file in path.glob(self.pattern) if file.stat().st_size]
        return sorted(found, key=lambda file: file.stat().st_mtime_ns)


DAMAGES = (
    Damage("a zero in the newest SST", "*.sst", _zero),
    Damage("newest SST cut", "*.sst", _cut),
    Damage("newest SST gone", "*.sst", _remove),
    Damage("a zero in the WAL", "*.log", _zero),
    Damage("WAL cut", "*.log", _cut),
    Damage("WAL gone", "*.log", _remove),
    Damage("a zero in the MANIFEST", "MANIFEST-*", _zero),
    Damage("MANIFEST cut", "MANIFEST-*", _cut),
    Damage("CURRENT gone", "CURRENT", _remove),
)


@dataclass(slots=True)
class Written:
    """A store's database as a crash left it, and what it held at each offset."""

    path: Path
    held: dict[int, Entries] = field(default_factory=dict)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Written]:
    """One that is young, one that wrote files since it was opened, and one with many lives."""
    directory = tmp_path_factory.mktemp("stores")
    return [
        _write(directory / "young", writes=400, size=400),
        _write(directory / "grown", writes=300, size=100_000),
        _write(directory / "old", writes=200, size=2_000, reopened_every=30),
    ]


def _write(directory: Path, *, writes: int, size: int, reopened_every: int = 0) -> Written:
    """Writes like ours: segments with keys of their own, a marker, deletes of what is old."""
    chance = random.Random(SEED)
    store, written = Store(directory / "open"), Written(directory / "crashed")
    state: dict[bytes, bytes] = {}
    offset = -1
    for number in range(writes):
        entries = [
            Entry(b"s%06d-%d" % (number, i), chance.randbytes(chance.randrange(1, size)))
            for i in range(3)
        ]
        entries.append(Entry(b"m", b"%d" % number))
        old = sorted(state)[1:-60]
        entries += [Entry(key, None) for key in old]
        state |= {key: value for key, value in entries if value is not None}
        for key in old:
            del state[key]
        offset += len(entries)
        store.write(0, entries, offset)
        written.held[offset] = dict(state)
        if reopened_every and number % reopened_every == 0:
            store.close_all()
    _copy_as_after_a_crash(directory / "open" / "0", written.path)
    store.close_all()
    return written


def _copy_as_after_a_crash(database: Path, copy: Path) -> None:
    """Copy a database that is open, once nothing writes to it in the background either."""
    while not copy.exists() or _files(copy) != _files(database):
        shutil.rmtree(copy, ignore_errors=True)
        with contextlib.suppress(shutil.Error):  # a file went while it was copied
            shutil.copytree(database, copy)


def _files(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in path.iterdir()}


def test_a_damaged_store_is_wiped_or_unreadable_or_what_it_was_at_its_offset(
    written: Sequence[Written], tmp_path: Path, repeats: Repeats
) -> None:
    chance = random.Random(SEED)
    became: Counter[tuple[str, str]] = Counter()
    for _ in range(repeats(2, 100)):
        for damage in DAMAGES:
            for one in written:
                if damage.can(one.path):
                    became[damage.name, _after(damage, one, tmp_path, chance)] += 1
    assert not [case for case in became if case[1].startswith("wrong")], became
    assert {result for _, result in became} >= {"wiped", "unreadable", "older"}, became


def _after(damage: Damage, written: Written, directory: Path, chance: random.Random) -> str:
    """What becomes of a copy that is damaged, opened, found unreadable maybe, and opened again."""
    shutil.copytree(written.path, directory / "0")
    damage.inflict(directory / "0", chance)
    store = Store(directory)
    try:
        offset = store.offset(0)
        entries = dict(store.entries(0))
    except StoreError:
        result = "unreadable"
    else:
        if offset is None:
            result = "wrong: wiped, but not empty" if entries else "wiped"
        elif entries == written.held.get(offset):
            result = "harmless" if offset == max(written.held) else "older"
        else:
            result = f"wrong: {len(entries)} entries of {len(written.held[offset])} at {offset}"
    store.wipe(0)
    assert (store.offset(0), list(store.entries(0))) == (None, []), "a wipe left something"
    store.close_all()
    shutil.rmtree(directory / "0")
    return result


def test_a_store_with_a_log_zeroed_in_the_middle_does_not_pass_for_whole(tmp_path: Path) -> None:
    """As after a power cut. RocksDB passes over zeros to the next 32 KB without a word."""
    store = Store(tmp_path / "open")
    for number in range(300):
        store.write(0, [Entry(b"s%06d" % number, bytes([number % 256]) * 958)], number)
    _copy_as_after_a_crash(tmp_path / "open" / "0", tmp_path / "crashed" / "0")
    store.close_all()
    log = next((tmp_path / "crashed" / "0").glob("*.log"))
    content = bytearray(log.read_bytes())
    content[65_536:98_304] = bytes(32_768)  # records are 1,024 bytes: whole ones go
    log.write_bytes(content)
    _assert_has_not_all(Store(tmp_path / "crashed"), 299)


def test_a_store_with_a_manifest_that_lost_its_end_does_not_pass_for_whole(tmp_path: Path) -> None:
    """RocksDB takes it for an older one, and still finds the newest log: the middle is gone."""
    store = Store(tmp_path / "open")
    path = tmp_path / "open" / "0"
    number = 0
    while number < 200 or not any(path.glob("*.sst")):
        store.write(0, [Entry(b"s%06d" % number, random.Random(number).randbytes(90_000))], number)
        number += 1
        assert number < 10_000, "no file was written"
    store.write(0, [Entry(b"s%06d" % number, b"last")], number)
    _copy_as_after_a_crash(tmp_path / "open" / "0", tmp_path / "crashed" / "0")
    store.close_all()
    manifest = next((tmp_path / "crashed" / "0").glob("MANIFEST-*"))
    manifest.write_bytes(manifest.read_bytes()[: _last_flush(manifest.read_bytes())])
    _assert_has_not_all(Store(tmp_path / "crashed"), number)


def _last_flush(manifest: bytes) -> int:
    """Where the record of the newest file begins: the last that names keys, so it is long."""
    at, last = 0, 0
    while at < len(manifest):
        _, size, _ = struct.unpack_from("<IHB", manifest, at)
        last = at if size > 64 else last
        at += 7 + size
    return last


def _assert_has_not_all(store: Store, newest: int) -> None:
    offset = store.offset(0)
    assert offset == newest, "RocksDB notices this by itself now: it proves nothing any more"
    with pytest.raises(StoreError, match="not all"):
        list(store.entries(0))
    store.close_all()


def test_a_store_whose_compaction_meets_a_broken_block_is_wiped(
    written: Sequence[Written], tmp_path: Path
) -> None:
    """A standby only writes. It must not fail at its writes again each time it is started."""
    grown = written[1].path
    shutil.copytree(grown, tmp_path / "0")
    for file in tmp_path.glob("0/*.sst"):
        _zero(file, random.Random(SEED))
    store = Store(tmp_path)
    offset = store.offset(0)
    assert offset is not None, "the damage was noticed before anything was written"
    with pytest.raises(StoreError, match="start the worker again"):
        for number in range(1_000):
            store.write(0, [Entry(b"s9%06d" % number, bytes(50_000))], offset + 1 + number)
    again = Store(tmp_path)
    assert again.offset(0) is None
    again.write(0, [Entry(b"s", b"new")], 0)
    again.close_all()


@pytest.mark.kafka
def test_a_worker_whose_stores_are_damaged_heals_by_itself(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, repeats: Repeats
) -> None:
    """It has nobody to take over from it: whatever its stores say then counts."""
    directory = tmp_path_factory.mktemp("corruption")
    deployment = Deployment(directory, kafka.bootstrap, FAULT_METRICS, FAULT_SETTINGS)
    chance = random.Random(SEED)
    toll = Toll()
    with (
        deployment.running(1) as fleet,
        proven(deployment, fleet, fault="stores damaged", seed=SEED, rate=RATE) as run,
    ):
        worker = fleet[0]
        run.warm_up()
        _end(worker, orderly=True)
        for turn in range(repeats(2, 9)):
            told = len(worker.log)
            inflicted = _damage(worker, chance, toll.inflicted, deployment.topics.group)
            worker.start()
            with Supervisor(fleet) as supervisor:
                run.fired()
                run.wait_fresh(FRESH_SECONDS_MAX)
            toll.count(inflicted, worker.log[told:], len(supervisor.restarts))
            _end(worker, orderly=turn % 2 == 0)
        worker.start()
        run.figures |= toll.figures()
    assert toll.noticed["CURRENT gone"] == toll.inflicted["CURRENT gone"] > 0
    # What a crash leaves is damaged as well, and hides some of it: not every kind every time.
    assert 3 * toll.noticed.total() > toll.inflicted.total() and toll.restarts
    # Damage that RocksDB only meets when it reads the place ends the worker, but once for each.
    assert toll.restarts <= toll.noticed.total()


@dataclass(slots=True)
class Toll:
    """Damages by name, how many of them were noticed, and the restarts that it took."""

    inflicted: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)
    restarts: int = 0

    def count(self, inflicted: Mapping[Path, Damage], log: str, restarts: int) -> None:
        """Add a start of a worker with damaged databases."""
        noticed = [line for line in log.splitlines() if NOTICED.search(line)]
        for path, damage in inflicted.items():
            self.inflicted[damage.name] += 1
            self.noticed[damage.name] += any(str(path) in line for line in noticed)
        self.restarts += restarts

    def figures(self) -> dict[str, object]:
        """For the report."""
        inflicted, noticed = self.inflicted, self.noticed
        shown = {name: f"{noticed[name]} of {inflicted[name]}" for name in sorted(inflicted)}
        return {
            "damages": inflicted.total(),
            "restarts_by_supervisor": self.restarts,
            "noticed": noticed.total(),
            "noticed_by_damage": ", ".join(f"{name} {text}" for name, text in shown.items()),
        }


def _damage(
    worker: Worker, chance: random.Random, before: Mapping[str, int], group: str
) -> dict[Path, Damage]:
    """Damage most of the databases of a worker that is down, and the file that has its name.

    Each gets what was inflicted least often ``before``, by the name of the damage: all happen.
    """
    _zero(worker.data / group / "worker.id", chance)
    databases = sorted(path.parent for path in worker.data.glob(f"{group}/*/*/CURRENT"))
    inflicted: dict[Path, Damage] = {}
    dealt = Counter(before)
    for path in chance.sample(databases, DAMAGED):
        possible = [damage for damage in DAMAGES if damage.can(path)]
        inflicted[path] = min(possible, key=lambda damage: (dealt[damage.name], chance.random()))
        inflicted[path].inflict(path, chance)
        dealt[inflicted[path].name] += 1
    return inflicted


def _end(worker: Worker, *, orderly: bool) -> None:
    if orderly and worker.exit_code is None:
        worker.stop()
    else:
        worker.kill()
