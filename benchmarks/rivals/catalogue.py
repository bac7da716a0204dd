"""Owns the list of rivals: what runs each, under which licence, and what of its answer is checked.

None of them is a dependency of the product: what our lock file does not hold is installed apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.rivals.installing import Java, OurPython, OwnPython, pins
from tests.services.kafka.jars import kafka_version

_CANDIDATES = Path(__file__).parents[1] / "candidates"
_JAVA = Path(__file__).parents[1] / "java"
_HEAP = ("-Xmx1g",)
#: What Flink's own configuration opens of Java 17, as far as a local cluster needs it.
_OPEN = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.net", "java.nio", "java.text", "java.time", "java.util")
)

Size = Literal["events", "long_events", "stock_events"]


@dataclass(frozen=True, slots=True)
class Rival:
    """A program that does the pipeline's job, or as much of it as `checks` says.

    `size` names the option that says how many events it gets. `arguments` come after those that
    every program gets, BOOTSTRAP TOPIC EVENTS DIRECTORY; `{framing}` in them is filled in.
    """

    name: str
    home: OurPython | OwnPython | Java
    size: Size
    checks: Literal["total", "rows", "rows and p95"]
    version: str
    licence: str
    arguments: tuple[str, ...] = ()


def _own_python(stem: str) -> OwnPython:
    return OwnPython(_CANDIDATES / f"{stem}.py", _CANDIDATES / f"{stem}.txt")


def _pinned(stem: str) -> str:
    return pins(_own_python(stem).requirements)[0].partition("==")[2]


_FLINK_WHEEL = _JAVA / "flink" / "requirements.txt"
_FLINK = Java(_JAVA / "flink", "FlinkPipeline", (*_HEAP, *_OPEN), _FLINK_WHEEL)


RIVALS: Mapping[str, Rival] = {
    rival.name: rival
    for rival in (
        Rival(
            name="floor",
            home=OurPython("benchmarks.candidates.floor"),
            size="events",
            checks="total",
            version="",
            licence="Apache-2.0 (confluent-kafka), BSD-3-Clause (msgspec)",
        ),
        Rival(
            name="kafka-streams",
            home=Java(_JAVA / "streams", "StreamsPipeline", _HEAP),
            size="long_events",
            checks="rows and p95",
            version=kafka_version(),
            licence="Apache-2.0",
            arguments=("grouped",),
        ),
        Rival(
            name="kafka-streams-local",
            home=Java(_JAVA / "streams", "StreamsPipeline", _HEAP),
            size="long_events",
            checks="rows and p95",
            version=kafka_version(),
            licence="Apache-2.0",
            arguments=("local",),
        ),
        Rival(
            name="quix",
            home=_own_python("quix_app"),
            size="stock_events",
            checks="rows",
            version=_pinned("quix_app"),
            licence="Apache-2.0",
        ),
        Rival(
            name="bytewax",
            home=_own_python("bytewax_flow"),
            size="long_events",
            checks="rows and p95",
            version=_pinned("bytewax_flow"),
            licence="Apache-2.0",
        ),
        Rival(
            name="flink-sql",
            home=_FLINK,
            size="long_events",
            checks="rows and p95",
            version=pins(_FLINK_WHEEL)[0].partition("==")[2],
            licence="Apache-2.0",
            arguments=("{framing}",),
        ),
    )
}


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those of `names` that our own environment does not tell."""
    return {name: RIVALS[name].version for name in names if name in RIVALS and RIVALS[name].version}
