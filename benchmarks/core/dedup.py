"""Owns the benchmark `dedup`: what it costs a source partition to remember ids.

`python -m benchmarks.core.dedup LIMIT EVENTS SEED` measures one limit in a process of its own and
writes the measures as JSON; `run` calls it for every limit. Without EVENTS (0) it measures digests
in the place of ids, and only what those take.
"""

import gc
import json
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec
import yaml
from xxhash import xxh3_128_digest

from analytics.core.dedup import IDS
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import parse_metrics
from analytics.core.events.codec import EventCodec, EventLimits
from analytics.core.source import Source, SourceState
from benchmarks import events
from benchmarks.pipeline import METRICS
from benchmarks.results import Figures, WrongResult, gather, tell
from tables.segments import Change, Entry, PaneId, SegmentLog, recover

LIMITS = (10_000, 100_000, 1_000_000)
BATCH, FRAMING, BATCHES_A_FLUSH = 1_000, 100, 4
DISORDER_MS = 1_000
NOW_MS = events.START_MS + events.SPAN_MS
CATALOG = Catalog(parse_metrics(yaml.safe_load(METRICS), "metrics.yaml"))
CODEC = EventCodec(CATALOG.fields, EventLimits())
_SECONDS_MAX = 600.0
PROGRAM = "benchmarks.core.dedup"

METHOD = """\
One source partition without Kafka: the source and its segments, as `agents/aggregate.py` uses them,
on the events and the metric of `pipeline`; batches of 1,000 events (100 a record), a flush after
every 4,000. CPU is that of decoding, folding and preparing flushes. *off* and *on* get every batch
one after the other in the same process, by turns the one first and the other. Every id is new, so
nothing is a duplicate; *on* was given as many random UUIDs before as it remembers and more, so
every new id drives an old one out.

*take in* is the CPU time of looking up and remembering an id alone, the forgetting of another
included; now and then the set is built anew, which is the *longest batch* of 1,000. *full
collection* is one of Python's garbage collector, in this process with these ids. *memory* is what
the process grew by. For *digests* each id was replaced by the 16 bytes of its XXH3-128 first, which
counts as part of taking it in. *changelog* is what the segments of ids take there, key and value,
and *restore* the CPU time from those bytes to a source that knows them. Every run is a new process;
the repeats go round by limit.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for on the command line."""

    events: int
    repeats: int
    seed: int

    def cases(self) -> Iterator[tuple[str, int, int]]:
        """What to measure: its name, limit and events."""
        for limit in LIMITS:
            yield f"{limit:,} ids", limit, self.events
        yield f"{LIMITS[-1]:,} digests", LIMITS[-1], 0


def run(plan: Plan, directory: Path) -> tuple[list[Figures], list[Figures]]:
    """Measure; (figures, no profile)."""
    runs: list[tuple[str, Mapping[str, float]]] = []
    for repeat in range(1, plan.repeats + 1):
        for label, limit, n in plan.cases():
            program = [sys.executable, "-m", PROGRAM, str(limit), str(n), str(plan.seed)]
            done = subprocess.run(
                program, check=True, stdout=subprocess.PIPE, timeout=_SECONDS_MAX, cwd=Path.cwd()
            )
            tell(f"{label}, {repeat} of {plan.repeats}: {done.stdout.decode().strip()}")
            runs.append((label, json.loads(done.stdout)))
    del directory  # nothing is written
    return gather(runs), []


@dataclass(slots=True)
class Partition:
    """A source, its segments, and a changelog that everything reaches at once."""

    source: Source
    log: SegmentLog
    changelog: dict[bytes, bytes] = field(default_factory=dict)

    def write(self, entries: Sequence[Entry]) -> None:
        """Append, as RocksDB would."""
        for key, value in entries:
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value
        self.log.confirm(self.source.applied + 1)

    def flush(self) -> list[Entry]:
        """What `agents/aggregate.py` prepares, without publishing it."""
        source = self.source
        changes = [
            Change(PaneId(one.metric, one.start_ms, 0), one.pane, dirty)
            for one, dirty in source.take_changes()
        ]
        changes += [
            Change(PaneId(IDS, chunk.number, 0), chunk, dirty)
            for chunk, dirty in source.ids.take_changes()
        ]
        gone = [PaneId(one.metric, one.start_ms, 0) for one in source.take_closed(NOW_MS)]
        gone += [PaneId(IDS, number, 0) for number in source.ids.take_forgotten()]
        state = msgspec.msgpack.encode(source.state())
        return self.log.flush(changes, gone, source.applied, state)


def measure(limit: int, n: int, seed: int) -> dict[str, float]:
    """All measures of one limit, or those of digests alone."""
    off, on = _new(0), _new(limit)
    if not n:
        return _filled(on, seed, _digests)
    measures = _filled(on, seed, list) | _restored(limit, seed)
    lines = list(events.lines(n, seed))
    values = [b"\n".join(lines[at : at + FRAMING]) for at in range(0, n, FRAMING)]
    del lines
    seconds = {id(off): 0.0, id(on): 0.0}
    step = BATCH // FRAMING
    for number, begin in enumerate(range(0, len(values), step), 1):
        batch = values[begin : begin + step]
        for partition in (off, on) if number % 2 else (on, off):
            began = time.thread_time()
            columns = CODEC.decode(batch, NOW_MS).columns
            partition.source.fold(columns, partition.source.applied + len(batch), NOW_MS)
            entries = partition.flush() if number % BATCHES_A_FLUSH == 0 else []
            seconds[id(partition)] += time.thread_time() - began
            partition.write(entries)
    without, having = seconds[id(off)] / n * 1e9, seconds[id(on)] / n * 1e9
    costs = {"off, CPU ns/event": without, "on, CPU ns/event": having, "on / off": having / without}
    return {**costs, **measures}


def _new(limit: int) -> Partition:
    return Partition(Source(CATALOG, DISORDER_MS, limit), recover([], bytes(8), 1).log)


def _filled(
    partition: Partition, seed: int, held_as: Callable[[list[str]], list[str]]
) -> dict[str, float]:
    """Let it remember as many ids as it can: seconds and bytes of memory for each."""
    ids = partition.source.ids
    gc.collect()
    before, n = _resident_bytes(), 0
    seconds = [0.0]
    for batch in _uuids(ids.limit, seed):
        began = time.thread_time()
        ids.take_in(held_as(batch))
        ids.take_changes()
        ids.take_forgotten()
        seconds.append(time.thread_time() - began)
        n += len(batch)
    memory = (_resident_bytes() - before) / ids.n
    began = time.thread_time()
    gc.collect()
    return {
        "take in, CPU ns/id": sum(seconds) / n * 1e9,
        "longest batch, ms": max(seconds) * 1e3,
        "full collection, ms": (time.thread_time() - began) * 1e3,
        "memory B/id": memory,
    }


def _digests(texts: list[str]) -> list[str]:
    """Bytes, in truth: whatever has a hash can be remembered, if not written as it is."""
    return cast("list[str]", list(map(xxh3_128_digest, map(str.encode, texts))))


def _restored(limit: int, seed: int) -> dict[str, float]:
    """Bytes of an id on the changelog, and seconds until all of them are remembered again."""
    partition = _new(limit)
    for number, batch in enumerate(_uuids(limit, seed), 1):
        partition.source.ids.take_in(batch)
        partition.source.applied = number
        if number % BATCHES_A_FLUSH == 0:
            partition.write(partition.flush())
    partition.write(partition.flush())
    n, entries = partition.source.ids.n, list(partition.changelog.items())
    del partition
    again = _new(limit).source
    began = time.thread_time()
    recovered = recover(entries, bytes(8), 2)
    if recovered.marker is None:
        raise WrongResult("nothing was written")
    state = msgspec.msgpack.decode(recovered.marker.state, type=SourceState)
    again.restore(0, state, [segment.partials for segment in recovered.segments])
    seconds = time.thread_time() - began
    if again.ids.n != n:
        raise WrongResult(f"{again.ids.n:,} of {n:,} ids were restored")
    size = sum(len(key) + len(value) for key, value in entries if key[:1] == b"s")
    return {"changelog B/id": size / n, "restore CPU s": seconds}


def _uuids(limit: int, seed: int) -> Iterator[list[str]]:
    """Batches of random UUIDs, half as many again as the limit, decoded as those of events are."""
    draw = random.Random(seed)
    decode = msgspec.json.Decoder(list[str]).decode
    for _ in range(0, limit * 3 // 2 + BATCH, BATCH):
        texts = [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(BATCH)]
        yield decode(msgspec.json.encode(texts))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
