"""Owns the seeded events of accounts: any number of series, any size; it uses no product code."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_lowercase

from benchmarks.events import COUNTRIES, Draw, draws, rfc3339

BYTES_MIN = 200
#: What an event holds beyond its few fields: further ones of about this size, as many as fit.
_FIELD_BYTES = 40
#: `,"f000":""`, which is what a field takes without a value.
_FRAME_BYTES = 10
_NUMBER = "{:04d}.{:07d}"
_NUMBER_BYTES = 20
#: Different fillings, so that neighbouring events differ.
_FILLINGS = 31


@dataclass(frozen=True, slots=True)
class Accounts:
    """Events of `series` accounts, each of `event_bytes` bytes.

    Every account comes once before any comes again, each time round in another order. With `keyed`
    all events of an account are in one partition, as a producer with a key sends them. Field for
    field a longer event only has more of what no metric looks at.
    """

    series: int
    event_bytes: int
    keyed: bool = True

    def __post_init__(self) -> None:
        if self.series < 1 or self.event_bytes < BYTES_MIN:
            raise ValueError(f"needs a series and {BYTES_MIN} bytes at least, got {self}")

    @property
    def name(self) -> str:
        """Part of the name of a topic that holds them."""
        return f"s{self.series}-b{self.event_bytes}{'' if self.keyed else '-spread'}-"

    def lines(self, n: int, seed: int) -> Iterator[tuple[int | None, bytes]]:
        """(key or None, event) of the first `n` events."""
        accounts = self.drawn(seed)
        for index, draw in enumerate(draws(n, seed)):
            account = next(accounts)
            yield (
                account if self.keyed else None,
                self.line(index, draw, account, rfc3339(draw.timestamp_ms)),
            )

    def drawn(self, seed: int) -> Iterator[int]:
        """The numbers of the accounts in the order of the events, without end."""
        order, rng = list(range(self.series)), random.Random(f"accounts {seed}")
        while True:
            rng.shuffle(order)
            yield from order

    def line(self, index: int, draw: Draw, account: int, timestamp: str) -> bytes:
        """The event as JSON; of `draw` only type and amount count."""
        head = (
            f'{{"id":"{index:032x}","timestamp":"{timestamp}","type":"{draw.type}",'
            f'"source":"shop-{index % 97}","data":{{'
            f'"amount":{draw.cents // 100}.{draw.cents % 100:02d},'
            f'"country":"{country(account)}","account":"{text(account)}"'
        )
        return f"{head}{_filling(self.event_bytes - len(head) - 2, index % _FILLINGS)}}}}}".encode()


def text(account: int) -> str:
    """The text of an account, in the order of their numbers."""
    return f"a-{account:07d}"


def country(account: int) -> str:
    """Where an account is: always in the same country, so that accounts are all the series."""
    return COUNTRIES[account % len(COUNTRIES)]


@lru_cache(maxsize=4096)
def _filling(size: int, number: int) -> str:
    """Fields of `size` bytes together: three with letters, one with a number, and so on.

    Fewer bytes than a field takes become blanks, which JSON allows there.
    """
    rng, left = random.Random(number), size
    fields: list[str] = []
    while left >= _FRAME_BYTES:
        name = f"f{len(fields):03d}"
        if len(fields) % 4 == 3 and left >= _NUMBER_BYTES:
            value = _NUMBER.format(rng.randrange(1000, 10_000), rng.randrange(10_000_000))
            fields.append(f',"{name}":{value}')
        else:
            length = min(_FIELD_BYTES, left) - _FRAME_BYTES
            letters = "".join(rng.choices(ascii_lowercase, k=length))
            fields.append(f',"{name}":"{letters}"')
        left -= len(fields[-1])
    return "".join(fields) + " " * left
