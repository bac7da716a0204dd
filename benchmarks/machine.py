"""Owns the description of where a figure was measured; a figure without it says little."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from tests.services.kafka.jars import kafka_version

PACKAGES = (
    "faust-streaming",
    "aiokafka",
    "msgspec",
    "orjson",
    "numpy",
    "rocksdict",
    "uvloop",
    "confluent-kafka",
)


def machine() -> dict[str, str]:
    """Processor, memory and system, and how busy all that was when asked."""
    load = os.getloadavg()[0]
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "CPUs": str(os.cpu_count()),
        "memory": f"{_memory_gib()} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load average at the start": f"{load:.1f}",
    }


def versions() -> dict[str, str]:
    """What the figures depend on, and which version of it ran."""
    return {
        "Python": platform.python_version(),
        "Kafka": kafka_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _memory_gib() -> int:
    kib = int(_field(Path("/proc/meminfo"), "MemTotal").split()[0])
    return round(kib / (1 << 20))


def _field(file: Path, name: str) -> str:
    """The value of the first line `name : value`; a dash where there is none."""
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "-"
