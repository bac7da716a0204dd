"""Wire form of the `partials` topic: what phase 1 tells phase 2 about one source partition."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from analytics.core.aggregates.pane import Partials, encode, split

#: A delivery is cut before it passes this; Kafka's default limit for a record is 1 MB.
DELIVERY_BYTES_MAX = 512 * 1024


class Stamp(NamedTuple):
    """How new a delivery is: the epoch rises with every takeover, ``applied`` with every flush."""

    epoch: int
    applied: int


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """Changed rows of one source partition as of ``applied``, and how far the partition has come.

    ``partials`` may be empty (a heartbeat). ``late`` counts by metric key, cumulative. ``idle``
    says that the partition is read to its end and has been silent for a while. ``more`` says that
    the rest of the same flush follows: only with the last of its deliveries are all of the rows
    there that ``watermark_ms`` vouches for.
    """

    source: int
    epoch: int
    applied: int
    watermark_ms: int
    idle: bool
    late: dict[str, int]
    partials: list[Partials]
    more: bool = False

    @property
    def stamp(self) -> Stamp:
        """For last-writer-wins between deliveries of one source partition."""
        return Stamp(self.epoch, self.applied)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Delivery)


def encode_delivery(delivery: Delivery) -> bytes:
    """The value of a record of `partials`."""
    return _encoder.encode(delivery)


def decode_delivery(raw: bytes) -> Delivery:
    """Read a record of `partials`; ValueError for anything else."""
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a delivery: {error}") from error


class Heartbeat(NamedTuple):
    """All of a delivery but its rows."""

    source: int
    stamp: Stamp
    watermark_ms: int
    idle: bool
    late: Mapping[str, int]


def pack(heartbeat: Heartbeat, partials: Sequence[Partials]) -> Iterator[bytes]:
    """Encoded deliveries of ``partials``, at least one, each of a size that a record may have."""
    waiting: list[Partials] = []
    size = 0
    for one in partials:
        for piece in split(one, DELIVERY_BYTES_MAX):
            piece_size = len(encode([piece]))
            if waiting and size + piece_size > DELIVERY_BYTES_MAX:
                yield encode_delivery(_delivery(heartbeat, waiting, more=True))
                waiting, size = [], 0
            waiting.append(piece)
            size += piece_size
    yield encode_delivery(_delivery(heartbeat, waiting, more=False))


def _delivery(heartbeat: Heartbeat, partials: list[Partials], *, more: bool) -> Delivery:
    return Delivery(
        source=heartbeat.source,
        epoch=heartbeat.stamp.epoch,
        applied=heartbeat.stamp.applied,
        watermark_ms=heartbeat.watermark_ms,
        idle=heartbeat.idle,
        late=dict(heartbeat.late),
        partials=partials,
        more=more,
    )
