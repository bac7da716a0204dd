"""Owns the settings of a process, one frozen value; nothing else may read TOML or environment.

A setting is declared once, in `Settings`, with its reader, default and meaning. Its key (in
`analytics.toml`, on the command line) is the field's name without `_ms`, because a duration is
written with its unit; its environment variable is `ANALYTICS_` and the key in capitals.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from analytics.core.definitions.document import Notes, nearest
from analytics.core.definitions.duration import format_duration
from analytics.core.definitions.readers import Read, duration, flag, integer, path, pattern, url
from analytics.core.definitions.urls import (
    BrokerAccess,
    mask_password,
    parse_broker,
    read_broker,
    with_password,
)
from analytics.errors import NOTHING, ConfigError

D = TypeVar("D")

TOML_NAME: Final = "analytics.toml"
FILE_BYTES_MAX: Final = 1 << 20
CONFIG_DIR_DEFAULT: Final = Path("config")

PREFIX: Final = "ANALYTICS_"
CONFIG_VARIABLE: Final = "ANALYTICS_CONFIG"
FOREIGN_VARIABLES: Final = frozenset({"ANALYTICS_TEST_CACHE", "ANALYTICS_CRASH_AT"})
"""Variables that tests set: no settings, and no mistakes either."""

PASSWORD_FILE: Final = "_password_file"
"""Added to the key of a URL: the key of a file that holds the URL's password."""

_LITERAL: Final = re.compile(r"0|[1-9][0-9]{0,17}|true|false")
_SECRET: Final = re.compile(r"password|secret|token|key", re.IGNORECASE)
_TOML_PLACE: Final = re.compile(r"(?P<problem>.*) \(at (?P<place>line (?P<line>[0-9]+).*)\)")

_SECOND: Final = 1_000
_HOUR: Final = 3_600_000
_KIB: Final = 1 << 10
_MIB: Final = 1 << 20


def _setting(read: Read[object], default: D, meaning: str) -> D:
    """Declare a setting; to the type checker it is its default, as with `dataclasses.field`."""
    return field(default=default, metadata={"read": read, "meaning": meaning})


_KAFKA_NAME: Final = "letters, digits, '.', '_' and '-'"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a process must be told; printing it masks every secret.

    URLs are kept whole, with their passwords; `None` means that the service is not used.
    """

    broker: tuple[str, ...] = _setting(
        read_broker, ("127.0.0.1:9092",), "where Kafka is; kafka+tls:// for TLS"
    )
    clickhouse: str | None = _setting(
        url("clickhouse://user:password@host:9000/analytics", "clickhouses://host:9440/analytics"),
        None,
        "the history; without it there is none",
    )
    redis: str | None = _setting(
        url("redis://host:6379/0", "rediss://host:6379/0"),
        None,
        "the shared cache of answers; without it each process has its own",
    )
    rabbitmq: str | None = _setting(
        url("amqp://user:password@host:5672/", "amqps://user:password@host:5671/"),
        None,
        "where alerts are delivered; without it they stay in Kafka",
    )
    archive: str | None = _setting(
        url("s3://bucket/prefix", "file:///path"), None, "where raw events are kept as Parquet"
    )
    search: str | None = _setting(
        url("https://host:9200", "http://host:9200"),
        None,
        "Elasticsearch or OpenSearch; without it ClickHouse searches",
    )
    data_dir: Path = _setting(path, Path("data"), "where a process keeps its state")
    host: str = _setting(
        pattern(r"[A-Za-z0-9_.:-]+", "must be a host name or address"),
        "127.0.0.1",
        "the address that HTTP is served on",
    )
    port: int | None = _setting(
        integer(0, 65_535), None, "the port of HTTP; by default each process has its own"
    )
    topic_prefix: str = _setting(
        pattern(r"[A-Za-z0-9._-]{0,100}", f"must be at most 100 {_KAFKA_NAME}"),
        "",
        "put before every topic's name",
    )
    app_id: str = _setting(
        pattern(r"[A-Za-z0-9._-]{1,100}", f"must be 1 to 100 {_KAFKA_NAME}"),
        "analytics-stream",
        "the consumer group of the stream workers",
    )
    partitions: int = _setting(integer(1, 10_000), 8, "partitions of a topic when it is created")
    flush_interval_ms: int = _setting(
        duration(10, 60 * _SECOND), 250, "how often changed aggregates are written and published"
    )
    disorder_ms: int = _setting(
        duration(0, _HOUR), 1_000, "how far out of order events of a partition usually arrive"
    )
    idle_ms: int = _setting(
        duration(100, 24 * _HOUR), 10_000, "silence after which nobody waits for a partition"
    )
    future_ms_max: int = _setting(
        duration(0, 24 * _HOUR), 300_000, "how far ahead of the clock an event may be"
    )
    event_bytes_max: int = _setting(integer(1, 64 * _MIB), 256 * _KIB, "the longest event")
    dedup_ids: int = _setting(
        integer(0, 10_000_000),
        0,
        "newest ids of a source partition that an event's is compared with; 0 keeps duplicates",
    )
    session_timeout_ms: int = _setting(
        duration(_SECOND, _HOUR), 10_000, "silence after which Kafka gives up on a worker"
    )
    standby_replicas: int = _setting(
        integer(0, 10), 1, "other workers that keep a copy of each partition's state at hand"
    )
    check_crcs: bool = _setting(flag, True, "whether checksums of fetched records are verified")
    fetch_bytes_max: int = _setting(
        integer(_KIB, 256 * _MIB), _MIB, "bytes fetched from a partition at a time"
    )
    broker_access: BrokerAccess = BrokerAccess()
    config_dir: Path = CONFIG_DIR_DEFAULT

    def effective(self) -> dict[str, object]:
        """Every setting by its key, as one would write it, with secrets masked."""
        return {key: _shown(name, getattr(self, name)) for key, (name, _) in _DECLARED.items()}

    def __repr__(self) -> str:
        pairs = (f"{key}={value!r}" for key, value in self.effective().items())
        return f"Settings({', '.join(pairs)}, broker_access={self.broker_access})"


def _shown(name: str, value: object) -> object:
    if isinstance(value, int) and "_ms" in name:
        return format_duration(value)
    if isinstance(value, tuple):
        return f"kafka://{','.join(value)}"
    return str(value) if isinstance(value, Path) else mask_password(value)


_WITH_PASSWORD: Final = ("broker", "clickhouse", "redis", "rabbitmq", "archive", "search")

_DECLARED: Final[Mapping[str, tuple[str, Read[object]]]] = {
    item.name.replace("_ms", ""): (item.name, item.metadata["read"])
    for item in fields(Settings)
    if item.metadata
}
"""Every setting by its key: the field that holds it, and its reader."""

_READERS: Final[Mapping[str, Read[object]]] = {
    **{key: read for key, (_, read) in _DECLARED.items()},
    **{key + PASSWORD_FILE: path for key in _WITH_PASSWORD},
}
"""The reader of every key that a source may hold."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that one source gives for a key, and how the key is spelled there."""

    value: object
    spelling: str
    notes: Notes


def load(
    config_dir: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Settings:
    """The settings from, in rising order: defaults, file, `environ`, `overrides` by key.

    An override of None and a variable without text leave the setting alone. Raises ConfigError
    with every mistake of every source.
    """
    directory = config_directory(config_dir, environ)
    notes = [Notes(file) for file in (str(directory / TOML_NAME), "environment", "command line")]
    in_file, in_environment, on_command_line = notes
    if directory != CONFIG_DIR_DEFAULT and not directory.is_dir():
        in_file.add("", "must be in a directory that exists", str(directory))
    values = _values(
        _given(in_file, str, read_toml(directory / TOML_NAME, in_file))
        | _given(in_environment, _variable, _variables(environ))
        | _given(on_command_line, _option, {_option(key): overrides[key] for key in overrides})
    )
    mistakes = [mistake for source in notes for mistake in source.mistakes]
    if mistakes:
        raise ConfigError(replace(one, value=mask_password(one.value)) for one in mistakes)
    if "broker" in values:
        values["broker"], values["broker_access"] = parse_broker(cast(str, values["broker"]))
    return Settings(config_dir=directory, **cast(dict[str, Any], values))


def config_directory(config_dir: Path | None, environ: Mapping[str, str]) -> Path:
    """Where the configuration is: as asked, else as the environment says, else `config`."""
    return config_dir or Path(environ.get(CONFIG_VARIABLE) or CONFIG_DIR_DEFAULT)


def _variable(key: str) -> str:
    return PREFIX + key.upper()


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _variables(environ: Mapping[str, str]) -> dict[str, object]:
    """Our variables; an empty one counts as absent, since compose files cannot leave one out."""
    foreign = FOREIGN_VARIABLES | {CONFIG_VARIABLE}
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in foreign and value
    }


def _given(
    notes: Notes, spell: Callable[[str], str], content: Mapping[str, object]
) -> dict[str, _Given]:
    """What one source gives, by key; what it spells like no key, or gives wrongly, is noted."""
    keys = {spell(key): key for key in _READERS}
    given = {}
    for spelling, raw in content.items():
        if raw is None:
            continue
        if spelling not in keys:
            shown = "***" if _SECRET.search(spelling) else raw
            notes.add(spelling, f"is not a known setting{nearest(spelling, keys)}", shown)
            continue
        key = keys[spelling]
        value = notes.read(spelling, raw, _of_text(_READERS[key]), None)
        if value is not None:
            given[key] = _Given(value, spelling, notes)
    return given


def _of_text(read: Read[object]) -> Read[object]:
    """The same reader, taking numbers and flags as text too: the environment holds nothing else."""

    def read_text(value: object) -> object:
        try:
            return read(value)
        except ValueError:
            if not isinstance(value, str) or not _LITERAL.fullmatch(value):
                raise
            return read(tomllib.loads(f"literal = {value}")["literal"])

    return read_text


def _values(given: Mapping[str, _Given]) -> dict[str, object]:
    """The values by field, each URL with the password that its file holds."""
    values = {_DECLARED[key][0]: one.value for key, one in given.items() if key in _DECLARED}
    for key in _WITH_PASSWORD:
        file = given.get(key + PASSWORD_FILE)
        if file is None:
            continue
        if key not in values:
            file.notes.add(file.spelling, f"must come with the URL `{key}`", str(file.value))
            continue
        join = partial(_with_password_of, str(values[key]))
        values[key] = file.notes.read(file.spelling, str(file.value), join, None)
    return values


def _with_password_of(url: str, file: object) -> str:
    try:
        password = path(file).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError("must be a file that can be read") from error
    return with_password(url, password)


def read_text(file: Path, notes: Notes) -> str | None:
    """The text of a file of at most 1 MiB; None where it is absent, or unreadable and noted."""
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            notes.add("", f"must be a file of at most {FILE_BYTES_MAX} bytes", file.stat().st_size)
            return None
        return file.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        notes.add("", "must be a file of UTF-8 text that can be read", str(error))
        return None


def read_toml(file: Path, notes: Notes) -> Mapping[str, object]:
    """The content of a TOML file; empty where there is none, or it is noted as unreadable."""
    content = read_text(file, notes) or ""
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_PLACE.fullmatch(str(error))
        place, problem = (match["place"], match["problem"]) if match else ("", str(error))
        line = content.splitlines()[int(match["line"]) - 1].strip() if match else NOTHING
        notes.add(place, f"must be TOML ({problem})", line)
    except RecursionError:
        notes.add("", "must not be nested so deeply", NOTHING)
    return {}


def process_environment() -> Mapping[str, str]:
    """The environment of this process; read by whoever composes it, and handed down from there."""
    return dict(os.environ)
