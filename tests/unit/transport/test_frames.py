"""Answers read into one buffer: whole ones, whatever pieces they come in, on asyncio and uvloop."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from analytics.transport import frames as module
from analytics.transport.frames import FrameProtocol, read_by_frames

SECONDS_MAX = 10.0


class Connection:
    """What a connection of aiokafka is to whoever reads for it, and what it was told."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.told: list[object] = []
        self._protocol = SimpleNamespace(
            eof_received=lambda: self.told.append("eof"),
            connection_lost=lambda error: self.told.append(error),
            pause_writing=lambda: self.told.append("pause"),
            resume_writing=lambda: self.told.append("resume"),
        )

    def _handle_frame(self, answer: bytes) -> None:
        self.answers.append(answer)


def framed(*answers: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(answer)) + answer for answer in answers)


def feed(protocol: FrameProtocol, content: bytes, pieces: list[int]) -> None:
    """What a transport does: fill as much of the buffer as has arrived."""
    at = 0
    while at < len(content):
        room = protocol.get_buffer(-1)
        size = min(len(room), len(content) - at, pieces.pop() if pieces else 1 << 20)
        room[:size] = content[at : at + size]
        at += size
        protocol.buffer_updated(size)


@given(
    st.lists(st.binary(min_size=1, max_size=60), max_size=8),
    st.lists(st.integers(1, 50), max_size=40),
)
def test_answers_come_whole_and_in_order_whatever_pieces_they_come_in(
    answers: list[bytes], pieces: list[int]
) -> None:
    connection = Connection()
    feed(FrameProtocol(connection), framed(*answers), pieces)
    assert connection.answers == answers


def test_a_great_answer_is_not_kept_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 100)
    connection = Connection()
    protocol = FrameProtocol(connection)
    answers = [b"a" * 90, b"b" * 5_000, b"c" * 100, b"d"]
    feed(protocol, framed(*answers), [])
    assert connection.answers == answers
    assert len(protocol._kept) == 100


@pytest.mark.parametrize("size", [0, -5, module.ANSWER_BYTES_MAX + 1])
def test_what_cannot_be_an_answer_is_an_error_and_not_waited_for(size: int) -> None:
    with pytest.raises(ConnectionError, match="cannot have"):
        feed(FrameProtocol(Connection()), struct.pack(">i", size), [])


def test_all_else_is_left_to_the_first_protocol() -> None:
    connection = Connection()
    protocol = FrameProtocol(connection)
    protocol.pause_writing()
    protocol.resume_writing()
    assert protocol.eof_received() is False
    protocol.connection_lost(error := OSError("gone"))
    assert connection.told == ["pause", "resume", "eof", error]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_is_open_already_is_taken_over_and_its_end_is_noticed(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(_talk(), SECONDS_MAX))


async def _talk() -> None:
    answers = [b"a" * 300_000, b"b", b"c" * 70_000]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(framed(*answers))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        opened = Connection()
        gone = asyncio.Event()
        opened._protocol.connection_lost = lambda _: gone.set()
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        connection: Any = opened
        connection._writer = writer

        async def get(_: int) -> Any:
            return connection

        client: Any = SimpleNamespace(_get_conn=get)
        read_by_frames(client)
        first_sight = await client._get_conn(0)
        protocol = writer.transport.get_protocol()
        assert await client._get_conn(0) is first_sight
        assert writer.transport.get_protocol() is protocol  # taken over once
        writer.write(b"?")
        await gone.wait()
        assert b"".join(opened.answers) == b"".join(answers)
        assert reader is not None
        writer.close()


async def test_no_connection_and_a_closed_one_stay_what_they_are() -> None:
    closed = SimpleNamespace(_writer=None)
    found: list[Any] = [None, closed]

    async def get() -> Any:
        return found.pop(0)

    client: Any = SimpleNamespace(_get_conn=get)
    read_by_frames(client)
    taking: Callable[[], Awaitable[Any]] = client._get_conn
    assert (await taking(), await taking()) == (None, closed)
