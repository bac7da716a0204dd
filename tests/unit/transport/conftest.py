"""A batch consumer for tests of this folder."""

from typing import Any, cast

import faust
import pytest

from analytics.transport import batch as module
from analytics.transport.batch import BatchConsumer, BatchTransport
from tests.unit.transport.rig import TABLE, Producer, Rig, State, Thread


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(module, "POLL_SPACING_SECONDS", 0.0)
    app = faust.App("worker", store="memory://", autodiscover=False)
    state = State()
    app.transport = BatchTransport(
        app, batch_topics=["events"], cursor=state, changelogs=[TABLE.topic]
    )
    thread = Thread()
    app.producer = cast(Any, Producer())
    monkeypatch.setattr(BatchConsumer, "_new_consumer_thread", lambda _: thread)
    consumer = cast(BatchConsumer, app.consumer)
    consumer._active_partitions = set(thread.assigned)
    app.consumer_generation_id = 1
    return Rig(app, consumer, thread, state)
