"""Owns the proof that a disk that is full, or takes no writes, costs no event and no operator.

The disk is one worker's alone, small and real. That worker ends and says why; the others go on for
it. Once the disk is as it should be, it comes back with what it had, which must be exact: in the
end it is left alone with the whole work.
"""

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from tests.faults.conftest import Repeats
from tests.services.environment import on_ci, require_program
from tests.services.kafka import KafkaServer
from tests.services.oracle import FAULT_METRICS, FAULT_SETTINGS, Run, proven
from tests.services.workers import Deployment, Worker, WorkerFleet

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(7_200)]

SEED = 20131224
RATE = 2_000
#: Room for what a worker keeps in such a test, several times over.
DISK_BYTES = 64 << 20
ENDED_SECONDS_MAX = 30.0
FRESH_SECONDS_MAX = 60.0


class Disk:
    """A small file system at ``path``, a context manager.

    A directory without permissions would not stop root, and one in memory cannot be made read-only
    under those who write to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._image = path.with_suffix(".img")
        self._filler = path / "filler"

    def __enter__(self) -> Self:
        """Make and mount it; where that is not permitted, skip the test, or fail it on CI."""
        self._path.mkdir()
        with self._image.open("xb") as image:
            image.truncate(DISK_BYTES)
        subprocess.run([require_program("mkfs.ext4"), "-q", str(self._image)], check=True)
        mounted = self._mount()
        if mounted.returncode != 0:
            reason = f"a small disk is needed, and root to mount it: {mounted.stderr.strip()}"
            if on_ci():
                pytest.fail(reason)
            pytest.skip(reason)
        return self

    def __exit__(self, *_: object) -> None:
        """Unmount it, also under those who still use it."""
        subprocess.run(["umount", "--lazy", str(self._path)], check=True)

    def fill(self) -> None:
        """Leave nothing that anybody could write to."""
        with self._filler.open("xb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 12)):
                pass
        assert os.statvfs(self._path).f_bavail == 0

    def empty(self) -> None:
        """Remove what `fill` wrote."""
        self._filler.unlink()

    def fail(self) -> None:
        """Do what the kernel does after an error of the device: refuse every write from now on."""
        subprocess.run(["mount", "-o", "remount,abort", str(self._path)], check=True)
        with pytest.raises(OSError) as refused:
            self._filler.touch()
        assert refused.value.errno == errno.EROFS

    def repair(self) -> None:
        """Mount it anew: it takes writes, and has what had come to the device by then."""
        subprocess.run(["umount", str(self._path)], check=True)
        mounted = self._mount()
        assert mounted.returncode == 0, mounted.stderr

    def _mount(self) -> "subprocess.CompletedProcess[str]":
        options = ["-o", "loop,errors=remount-ro", str(self._image), str(self._path)]
        return subprocess.run(["mount", *options], capture_output=True, text=True, check=False)


Break = Callable[[Disk], None]


@pytest.mark.parametrize(
    ("name", "damage", "repair"),
    [("full", Disk.fill, Disk.empty), ("read-only", Disk.fail, Disk.repair)],
)
def test_a_worker_whose_disk_takes_no_writes_ends_and_comes_back_exact(
    name: str,
    damage: Break,
    repair: Break,
    kafka: KafkaServer,
    tmp_path_factory: pytest.TempPathFactory,
    repeats: Repeats,
) -> None:
    """It says which disk it is, also when it is started on it; nothing of what it has is wiped."""
    directory = tmp_path_factory.mktemp("disk")
    deployment = Deployment(directory, kafka.bootstrap, FAULT_METRICS, FAULT_SETTINGS)
    with (
        Disk(directory / "worker-0") as disk,
        deployment.running(3) as fleet,
        proven(deployment, fleet, fault=f"disk {name}", seed=SEED, rate=RATE) as run,
    ):
        victim = fleet[0]
        run.warm_up()
        for _ in range(repeats(1, 10)):
            damage(disk)
            run.fired()
            _assert_ends_for_its_disk(victim)
            run.wait_fresh(FRESH_SECONDS_MAX)
            _assert_ends_for_its_disk(victim.start())
            repair(disk)
            victim.start()
            _leave_alone(victim, fleet, run)
        assert not victim.told("wiped a broken store")


def _assert_ends_for_its_disk(victim: Worker) -> None:
    assert victim.wait_dead(ENDED_SECONDS_MAX) == 1
    reason = victim.told("the worker ended")[-1]["reason"]
    assert str(victim.data) in reason and "disk" in reason


def _leave_alone(worker: Worker, fleet: WorkerFleet, run: Run) -> None:
    """Kill all others, so that what this one has on disk is all there is at hand."""
    fleet.wait_ready()
    others = [one for one in fleet if one is not worker]
    for one in others:
        one.kill()
    run.fired()
    run.wait_fresh(FRESH_SECONDS_MAX)
    for one in others:
        one.start()
    fleet.wait_ready()
