"""Owns the stopwatches that `--profile` puts into a worker; without it nothing of this runs.

Functions of the hot path are replaced by ones that read the thread's CPU clock before and after,
which costs about a microsecond a call, and they are called once a batch. Time of a stage inside
another one counts for the inner one only. Coroutines are not timed, because others run while they
wait; what is left of a thread's time is therefore event loop, Faust and Kafka clients.
"""

import importlib
import json
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.processes import thread_seconds

SNAPSHOT_SIGNAL = signal.SIGRTMIN
"""Makes the worker add a line to its profile: CPU seconds so far by stage and by thread."""

GENERATORS = frozenset({"pack"})

#: Module, function as that module's users find it, stage.
TIMED = (
    ("analytics.core.events.codec", "EventCodec.decode", "decode events"),
    ("analytics.core.events.codec", "timestamps.parse", "decode timestamps"),
    ("analytics.core.events.columns", "Columns.strings", "columns of text"),
    ("analytics.core.events.columns", "Columns.numbers", "columns of numbers"),
    ("analytics.core.watermark", "running", "watermarks"),
    ("analytics.core.aggregates.grouping", "Selections.of", "order by pane"),
    ("analytics.core.aggregates.grouping", "Selections.ids", "look series up"),
    ("analytics.core.source", "fold", "cut by pane"),
    ("analytics.core.aggregates.pane", "Pane.fold", "fold into panes"),
    ("analytics.core.aggregates.sparse", "SparseCounts.count", "count sketch bins"),
    ("analytics.core.source", "Source.take_changes", "flush: snapshot"),
    ("analytics.core.source", "Source.take_closed", "flush: close panes"),
    ("tables.segments", "SegmentLog.flush", "flush: encode segments"),
    ("tables.store", "Store.write", "flush: write RocksDB"),
    ("agents.aggregate", "pack", "flush: encode deliveries"),
    ("agents.merge", "MergeAgent._deliver", "merge: take in"),
    ("agents.merge", "decode_delivery", "merge: decode"),
    ("analytics.core.merge", "Merge.take_changes", "merge: snapshot"),
    ("web.answering", "Answering._local", "answer queries"),
)

_stage_seconds: defaultdict[str, float] = defaultdict(float)
_running = threading.local()


def install(file: Path) -> None:
    """Time every function of TIMED from now on; call in the main thread before the app is made."""
    for module_name, path, stage in TIMED:
        owner: Any = importlib.import_module(module_name)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, _timed(getattr(owner, name), stage, drain=name in GENERATORS))
    signal.signal(SNAPSHOT_SIGNAL, lambda number, frame: _snapshot(file, number, frame))


def _timed(function: Callable[..., Any], stage: str, *, drain: bool) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        inner_before = getattr(_running, "inner", 0.0)
        _running.inner = 0.0
        began = time.thread_time()
        try:
            result = function(*args, **kwargs)
            return list(result) if drain else result
        finally:
            took = time.thread_time() - began
            _stage_seconds[stage] += took - _running.inner
            _running.inner = inner_before + took

    return timed


def _snapshot(file: Path, number: int, frame: FrameType | None) -> None:
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    threads: defaultdict[str, float] = defaultdict(float)
    for native_id, seconds in thread_seconds("self").items():
        threads[names.get(native_id, "native threads")] += seconds
    with file.open("a") as snapshots:
        snapshots.write(json.dumps({"stages": _stage_seconds, "threads": threads}) + "\n")
