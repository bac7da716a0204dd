"""Owns the fixtures of the views' tests."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.web.rooms import CANCELLED, DELAYS, Client, Fleet, Room, Stranger


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def room(fleet: Fleet) -> Room:
    """The worker that is asked; it owns `delays` and not `cancelled`."""
    return Room(fleet, DELAYS)


@pytest.fixture
async def client(room: Room, fleet: Fleet) -> AsyncIterator[Client]:
    client = await room.open()
    fleet.assign(str(client.make_url("/")), DELAYS)
    yield client
    await client.close()


@pytest.fixture
async def other(fleet: Fleet) -> AsyncIterator[Client]:
    """A second worker, which owns `cancelled`."""
    client = await Room(fleet, CANCELLED).open()
    fleet.assign(str(client.make_url("/")), CANCELLED)
    yield client
    await client.close()


@pytest.fixture
async def stranger(fleet: Fleet) -> AsyncIterator[Stranger]:
    """A server that is said to own `cancelled`."""
    made = Stranger()
    server = await made.open()
    fleet.assign(str(server.make_url("/")), CANCELLED)
    yield made
    await server.close()
