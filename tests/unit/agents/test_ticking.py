"""The service that flushes at an interval: its pace, its end, and what an error does."""

import asyncio

import pytest
from mode import Service

from agents.ticking import Ticking


class Worker(Service):
    """A service that the ticking one belongs to."""


async def wait_for(condition: asyncio.Event) -> None:
    await asyncio.wait_for(condition.wait(), 5)


async def test_it_ticks_until_it_is_stopped() -> None:
    ticked = asyncio.Event()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 3:
            ticked.set()

    async with Ticking(tick, 0.0):
        await wait_for(ticked)
    seen = ticks
    await asyncio.sleep(0.01)
    assert ticks == seen


async def test_it_never_ticks_twice_at_once() -> None:
    under_way = most = done = 0
    enough = asyncio.Event()

    async def tick() -> None:
        nonlocal under_way, most, done
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.002)
        under_way -= 1
        done += 1
        if done == 3:
            enough.set()

    async with Ticking(tick, 0.0):
        await wait_for(enough)
    assert most == 1


async def test_an_error_crashes_the_worker_it_belongs_to_and_ends_the_ticking() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1
        raise RuntimeError("Kafka is gone")

    worker = Worker()
    await worker.start()
    await worker.add_runtime_dependency(Ticking(tick, 0.0))
    for _ in range(100):
        await asyncio.sleep(0.005)
        if worker.crashed:
            break
    assert worker.crashed
    assert str(worker.crash_reason) == "Kafka is gone"
    await asyncio.sleep(0.02)
    assert ticks == 1
    await worker.stop()


async def test_a_stop_ends_a_tick_that_hangs() -> None:
    began = asyncio.Event()

    async def tick() -> None:
        began.set()
        await asyncio.Event().wait()

    ticking = Ticking(tick, 0.0)
    await ticking.start()
    await wait_for(began)
    await asyncio.wait_for(ticking.stop(), 5)
    assert not ticking.crashed


@pytest.mark.parametrize("took", [0.0, 0.03])
async def test_the_interval_is_from_beginning_to_beginning(took: float) -> None:
    loop = asyncio.get_running_loop()
    began: list[float] = []
    enough = asyncio.Event()

    async def tick() -> None:
        began.append(loop.time())
        if len(began) == 4:
            enough.set()
        await asyncio.sleep(took)

    async with Ticking(tick, 0.04):
        await wait_for(enough)
    assert 0.1 <= began[3] - began[0] < 0.6
