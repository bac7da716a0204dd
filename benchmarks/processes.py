"""Owns reading what processes cost from `/proc`; it must not start or end any."""

import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat, counted from the one behind the name in parentheses.
_PARENT, _TIMES, _RESIDENT = 1, slice(11, 15), 21
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_NANOSECONDS = 1e9


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its threads and descendants, ended ones included.

    Linux keeps it to 10 ms. A descendant whose parent has ended belongs to nobody and is missed.
    """
    ticks = sum(sum(map(int, stat[_TIMES])) for stat in _tree(pid).values())
    return ticks / _TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Memory of a process and its descendants that is in RAM, shared pages counted in each."""
    return sum(int(stat[_RESIDENT]) for stat in _tree(pid).values()) * _PAGE_BYTES


def peak_bytes(pid: int) -> int:
    """The most of `resident_bytes` that a process without descendants ever had."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) << 10
    raise ProcessLookupError(pid)  # it has ended, so it has no memory


def thread_seconds(pid: int | str) -> dict[int, float]:
    """User and system time of each running thread of a process by its native id, to the ns."""
    seconds: dict[int, float] = {}
    for entry in (_PROC / str(pid) / "task").iterdir():
        try:
            ran_ns = int((entry / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended in between
        seconds[int(entry.name)] = ran_ns / _NANOSECONDS
    return seconds


def _tree(pid: int) -> dict[int, list[str]]:
    """The stat of a process and of each descendant; ProcessLookupError when there is none."""
    entries = {int(entry.name): entry for entry in _PROC.iterdir() if entry.name.isdigit()}
    stats = {number: stat for number, entry in entries.items() if (stat := _stat(entry))}
    if pid not in stats:
        raise ProcessLookupError(pid)
    parents = {number: int(stat[_PARENT]) for number, stat in stats.items()}
    return {member: stats[member] for member in _family(pid, parents)}


def _stat(entry: Path) -> list[str] | None:
    try:
        text = (entry / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended in between
    # The name may hold anything, spaces and parentheses too.
    return text[text.rindex(")") + 2 :].split()


def _family(pid: int, parents: dict[int, int]) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    waiting = [pid]
    while waiting:
        member = waiting.pop()
        waiting += children.get(member, [])
        yield member
