"""Owns a TCP proxy on loopback that can be slow, narrow, cut or dead while it runs.

It must not know what passes. It stands in for a network that misbehaves: bytes are late or held
back, never changed, left out or put into another order.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import uvloop

HOST: Final = "127.0.0.1"
CHUNK_BYTES_MAX: Final = 32 << 10
#: Chunks of one direction of a connection that are read and not yet passed on. Then reading stops,
#: and the sender's window closes as it would on a real network.
HELD_CHUNKS_MAX: Final = 64
#: What a narrow link takes in at once takes it so long at the most: connections take turns.
SLICE_SECONDS_MAX: Final = 0.05
CALL_SECONDS_MAX: Final = 10.0

#: Close at once and without an orderly end: the other side gets a reset.
_NO_LINGER: Final = struct.pack("ii", 1, 0)

Direction = Literal["up", "down"]
T = TypeVar("T")


@dataclass(slots=True)
class Counts:
    """What a proxy has done since it was started: the proof that a fault was felt."""

    connections: int = 0
    #: Connections for which nobody listened upstream; they are reset.
    refused: int = 0
    passed_bytes: int = 0
    #: Connections that `reset` or `reset_after` cut.
    resets: int = 0
    #: Chunks that `delay` made late.
    delayed: int = 0
    #: Pieces that waited for a narrow link.
    throttled: int = 0
    #: Connections that `strand` forgot.
    stranded: int = 0
    #: Bytes that came while a black hole was there, and pass after it to whoever still listens; or
    #: on a connection that was forgotten, and never pass.
    swallowed_bytes: int = 0

    def since(self, earlier: "Counts") -> "Counts":
        """What was counted after ``earlier``."""
        names = [one.name for one in fields(self)]
        return Counts(**{one: getattr(self, one) - getattr(earlier, one) for one in names})


class Proxy:
    """Passes connections to `port` on to ``upstream_port``; a context manager.

    Everything runs in a thread with a loop of its own. Faults add up, begin at any time, hold for
    old and new connections, and last until `heal`; each method returns once it is so.
    """

    def __init__(self, upstream_port: int) -> None:
        """Nothing has to listen on ``upstream_port`` yet."""
        self.upstream_port = upstream_port
        self.port = 0
        self._link = _Link(upstream_port)
        self._listening: Future[tuple[asyncio.AbstractEventLoop, int]] = Future()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{upstream_port}")

    @property
    def address(self) -> str:
        """The `host:port` that clients connect to."""
        return f"{HOST}:{self.port}"

    @property
    def counts(self) -> Counts:
        """What has happened so far."""
        return replace(self._link.counts)

    @property
    def standing(self) -> int:
        """Connections that are open at the moment."""
        return len(self._link.connections)

    def delay(self, seconds: float, *, jitter: float = 0.0, seed: int = 0) -> None:
        """Make a round trip ``seconds`` longer, half of it each way, give or take ``jitter``."""
        self._change(delay_seconds=seconds, jitter_seconds=jitter, seed=seed)

    def narrow(self, bytes_per_second: float) -> None:
        """Let so much pass in each direction, all connections together."""
        self._change(bytes_per_second=bytes_per_second)

    def reset(self) -> int:
        """Cut all connections now, with a reset on both sides; how many there were."""
        return self._call(self._link.reset())

    def reset_after(self, passed_bytes: int) -> None:
        """Cut every connection once it has passed so much in its life, both ways together."""
        self._change(reset_after_bytes=passed_bytes)

    def black_hole(self) -> None:
        """Let nothing pass: connections stay open, and new ones are accepted and hang."""
        self._change(black_hole=True)

    def strand(self) -> int:
        """Forget the connections that stand: open on both sides for ever, but nothing passes.

        As when a broker's machine loses its power and another takes over its address: nobody says
        that the connection is gone. New ones live. How many there were.
        """
        return self._call(self._link.strand())

    def heal(self) -> None:
        """End all faults; what was held back passes, but for what is stranded."""
        self._call(self._link.heal())

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        _, self.port = self._listening.result(CALL_SECONDS_MAX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut every connection and stop."""
        self._call(self._link.end())
        self._thread.join()

    def _change(self, **faults: Any) -> None:
        self._call(self._link.change(**faults))

    def _call(self, change: Coroutine[Any, Any, T]) -> T:
        loop, _ = self._listening.result(CALL_SECONDS_MAX)
        return asyncio.run_coroutine_threadsafe(change, loop).result(CALL_SECONDS_MAX)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._link.serve(self._listening))


@dataclass(frozen=True, slots=True)
class _Faults:
    seed: int = 0
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: float | None = None
    reset_after_bytes: int | None = None
    black_hole: bool = False


class _Link:
    """What all connections of a proxy share. Belongs to its loop."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.counts = Counts()
        self.faults = _Faults()
        self.connections: dict[_Connection, asyncio.Task[None]] = {}
        self._ended = asyncio.Event()
        #: Set while there is no black hole.
        self.passing = asyncio.Event()
        self.passing.set()
        self._chance = random.Random(0)
        #: When a narrow link will have passed what it took in.
        self._free_at: dict[Direction, float] = {}

    async def serve(self, listening: "Future[tuple[asyncio.AbstractEventLoop, int]]") -> None:
        """Serve until `end`; ``listening`` gets the loop and the port."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.counts.connections += 1
            connection = _Connection(self, reader, writer)
            task = self.connections[connection] = tasks.create_task(connection.run())
            # Not at the end of the coroutine: one that is cancelled at once never begins.
            task.add_done_callback(lambda _: self._ended_one(connection))

        async with asyncio.TaskGroup() as tasks:
            server = await asyncio.start_server(accept, HOST, 0, limit=CHUNK_BYTES_MAX)
            port: int = server.sockets[0].getsockname()[1]
            listening.set_result((asyncio.get_running_loop(), port))
            await self._ended.wait()
            server.close()
            await self._cut()

    async def change(self, **faults: Any) -> None:
        """Have these faults too from now on."""
        self._become(replace(self.faults, **faults))

    async def heal(self) -> None:
        """Have no faults from now on."""
        self._become(_Faults())

    async def reset(self) -> int:
        """See `Proxy.reset`."""
        cut = await self._cut()
        self.counts.resets += cut
        return cut

    async def strand(self) -> int:
        """See `Proxy.strand`."""
        for connection in self.connections:
            connection.stranded = True
        self.counts.stranded += len(self.connections)
        return len(self.connections)

    async def end(self) -> None:
        """Let `serve` return."""
        self._ended.set()

    def _ended_one(self, connection: "_Connection") -> None:
        del self.connections[connection]
        connection.close()

    def _become(self, faults: _Faults) -> None:
        self.faults = faults
        self._chance = random.Random(faults.seed)
        self._free_at.clear()
        if faults.black_hole:
            self.passing.clear()
        else:
            self.passing.set()

    async def _cut(self) -> int:
        standing = list(self.connections.values())
        for connection in standing:
            connection.cancel()
        await asyncio.gather(*standing, return_exceptions=True)
        return len(standing)

    def one_way_seconds(self) -> float:
        """How late the chunk is that has just come."""
        seconds, jitter = self.faults.delay_seconds, self.faults.jitter_seconds
        if not seconds:
            return 0.0
        self.counts.delayed += 1
        return max(0.0, seconds + self._chance.uniform(-jitter, jitter)) / 2

    async def admit(self, direction: Direction, size: int) -> int:
        """Wait until something may pass; how much of ``size`` bytes that is."""
        await self.passing.wait()
        rate = self.faults.bytes_per_second
        if rate is None:
            return size
        size = min(size, max(1, int(rate * SLICE_SECONDS_MAX)))
        now = asyncio.get_running_loop().time()
        free_at = max(now, self._free_at.get(direction, 0.0)) + size / rate
        self._free_at[direction] = free_at
        self.counts.throttled += 1
        await asyncio.sleep(free_at - now)
        await self.passing.wait()
        return size


class _Connection:
    """One client's connection and ours upstream. Ends with a reset when it is cancelled."""

    def __init__(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._link = link
        self._reader = reader
        self._writer = writer
        self._writers = [writer]
        self._passed_bytes = 0
        self._in_order = False
        self.stranded = False

    async def run(self) -> None:
        """Pass bytes both ways until both sides have ended, or one of them did so in disorder."""
        up = _Held(self._link, self)
        try:
            async with asyncio.TaskGroup() as tasks:
                # Also while upstream cannot be reached: a black hole takes what comes.
                tasks.create_task(up.fill(self._reader))
                reader, writer = await self._connect()
                down = _Held(self._link, self)
                tasks.create_task(down.fill(reader))
                tasks.create_task(self._pass("up", up, writer))
                tasks.create_task(self._pass("down", down, self._writer))
            self._in_order = True
        except* OSError:
            self._in_order = False  # one side is gone, and the other learns it

    def close(self) -> None:
        """Close both sides, with a reset unless both have ended."""
        for writer in self._writers:
            if not self._in_order and not writer.is_closing():
                _socket(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await self._link.passing.wait()
        try:
            reader, writer = await asyncio.open_connection(
                HOST, self._link.upstream_port, limit=CHUNK_BYTES_MAX
            )
        except OSError:
            self._link.counts.refused += 1
            raise
        self._writers.append(writer)
        for one in self._writers:
            # `drain` then waits for every byte, so that no buffer of ours is without a bound.
            one.transport.set_write_buffer_limits(0)
            _socket(one).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return reader, writer

    async def _pass(
        self, direction: Direction, held: "_Held", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            chunk = await held.next()
            await self._link.passing.wait()
            if self.stranded:
                await asyncio.Event().wait()
            if isinstance(chunk, OSError):
                raise chunk
            if not chunk:
                break
            while chunk:
                size = await self._link.admit(direction, len(chunk))
                piece = chunk[: min(size, self._left())]
                if writer.is_closing():
                    raise ConnectionResetError  # which not every event loop says by itself
                writer.write(piece)
                await writer.drain()
                chunk = chunk[len(piece) :]
                self._passed_bytes += len(piece)
                self._link.counts.passed_bytes += len(piece)
        if not writer.is_closing():
            writer.write_eof()

    def _left(self) -> int:
        """How much may pass before this connection is cut; ConnectionResetError when nothing."""
        limit = self._link.faults.reset_after_bytes
        if limit is None:
            return CHUNK_BYTES_MAX
        if self._passed_bytes >= limit:
            self._link.counts.resets += 1
            raise ConnectionResetError
        return limit - self._passed_bytes


class _Held:
    """The chunks of one direction that were read and wait to be passed on, each until it is due."""

    def __init__(self, link: _Link, connection: _Connection) -> None:
        self._link = link
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(HELD_CHUNKS_MAX)

    async def fill(self, reader: asyncio.StreamReader) -> None:
        """Read until the end, or until an error, which waits its turn like everything else."""
        due, chunk = 0.0, b"-"
        while chunk:
            try:
                chunk = await reader.read(CHUNK_BYTES_MAX)
            except OSError as error:
                await self._chunks.put((due, error))
                return
            if self._link.faults.black_hole or self._connection.stranded:
                self._link.counts.swallowed_bytes += len(chunk)
            # Jitter must not let a chunk pass the one before it.
            due = max(due, self._loop.time() + self._link.one_way_seconds())
            await self._chunks.put((due, chunk))

    async def next(self) -> bytes | OSError:
        """The next chunk, when it is due; empty at the end. Or the error that `fill` met."""
        due, chunk = await self._chunks.get()
        wait = due - self._loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        return chunk


def _socket(writer: asyncio.StreamWriter) -> socket.socket:
    found: socket.socket = writer.get_extra_info("socket")
    return found
