"""Owns reading a body off a connection, with a limit; it must not know what the body says."""

from aiohttp import StreamReader


async def read_whole(stream: StreamReader, bytes_max: int) -> bytes:
    """The whole body, or more than ``bytes_max`` bytes of a longer one, the rest of which is left.

    `StreamReader.read` would not do: it returns what has arrived so far, which for all but small
    bodies is a part.
    """
    parts = []
    size = 0
    async for part in stream.iter_any():
        parts.append(part)
        size += len(part)
        if size > bytes_max:
            break
    return b"".join(parts)
