"""Owns reading answers off a connection to Kafka into one buffer; it must not know what they say.

aiokafka reads through asyncio's `StreamReader`. A fetch of megabytes passes it in pieces of 128 KB,
each of which is allocated, appended, waited for and moved once more, and the reading is paused and
resumed between them. With asyncio's buffered protocol the kernel writes where the answer is wanted.
"""

import asyncio
import struct
from typing import Any

_SIZE = struct.Struct(">i")
#: What a connection keeps at most for the next answer, as soon as one was so large; a larger one
#: gets memory of its own, which costs as much as reading into it. Eight partitions give 8 MB and a
#: little.
KEPT_BYTES = 32 << 20
#: No broker gives such an answer: whoever speaks there speaks something else.
ANSWER_BYTES_MAX = 1 << 30


def read_by_frames(client: Any) -> None:
    """Read this way on every connection that an aiokafka client opens from now on.

    What a connection says while it is opened, about versions and who one is, comes before.
    """
    get = client._get_conn

    async def get_and_take_over(*arguments: Any, **options: Any) -> Any:
        connection = await get(*arguments, **options)
        if connection is not None:
            _take_over(connection)
        return connection

    client._get_conn = get_and_take_over


def _take_over(connection: Any) -> None:
    writer = connection._writer
    if writer is not None and not isinstance(writer.transport.get_protocol(), FrameProtocol):
        writer.transport.set_protocol(FrameProtocol(connection))


class FrameProtocol(asyncio.BufferedProtocol):
    """Hands every answer of a connection to it whole; all else is left to its first protocol."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._first = connection._protocol
        self._kept = bytearray()
        self._head = memoryview(bytearray(_SIZE.size))
        self._begin(self._head)

    def _begin(self, target: memoryview) -> None:
        """Fill ``target`` next."""
        self._target = target
        self._filled = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """The part of what is being read that is not there yet."""
        return self._target[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """So much more is there."""
        self._filled += nbytes
        if self._filled < len(self._target):
            return
        if self._target is self._head:
            [size] = _SIZE.unpack(self._head)
            if not 0 < size <= ANSWER_BYTES_MAX:
                raise ConnectionError(f"an answer cannot have {size:,} bytes")
            self._begin(self._room(size))
        else:
            answer = bytes(self._target)
            self._begin(self._head)
            self._connection._handle_frame(answer)

    def _room(self, size: int) -> memoryview:
        if size > KEPT_BYTES:
            return memoryview(bytearray(size))
        if size > len(self._kept):
            self._kept = bytearray(size)
        return memoryview(self._kept)[:size]

    def eof_received(self) -> bool | None:
        """As the first protocol has it."""
        return bool(self._first.eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        """As the first protocol has it: the connection ends, and whoever waits for it is told."""
        self._first.connection_lost(error)

    def pause_writing(self) -> None:
        """As the first protocol has it."""
        self._first.pause_writing()

    def resume_writing(self) -> None:
        """As the first protocol has it."""
        self._first.resume_writing()
