"""Owns the tests of where settings come from and how they are shown."""

import re
import tomllib
from pathlib import Path

import pytest

from analytics.core.definitions.urls import BrokerAccess
from analytics.errors import ConfigError
from analytics.settings import Settings, load

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = {"clickhouse", "redis", "rabbitmq", "archive", "search", "port"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A directory with a file of settings."""
    (tmp_path / "analytics.toml").write_text('partitions = 2\nhost = "toml"\nidle = "1s"\n')
    return tmp_path


def mistakes(
    config_dir: Path | None = None,
    environ: dict[str, str] | None = None,
    overrides: dict[str, object] | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(config_dir, environ or {}, overrides or {})
    return [str(mistake) for mistake in caught.value.mistakes]


def test_without_any_source_every_setting_has_its_default(tmp_path: Path) -> None:
    assert load(tmp_path, {}, {}) == Settings(config_dir=tmp_path)
    assert Settings().broker == ("127.0.0.1:9092",)
    assert (Settings().flush_interval_ms, Settings().partitions) == (250, 8)


def test_the_environment_overrides_the_file_and_the_command_line_both(config: Path) -> None:
    environ = {"ANALYTICS_HOST": "env", "ANALYTICS_IDLE": "2s"}
    settings = load(config, environ, {"idle": "3s"})
    assert (settings.partitions, settings.host, settings.idle_ms) == (2, "env", 3_000)


def test_an_override_of_none_and_an_empty_variable_change_nothing(config: Path) -> None:
    settings = load(config, {"ANALYTICS_HOST": ""}, {"partitions": None})
    assert (settings.host, settings.partitions) == ("toml", 2)


def test_the_directory_is_the_one_asked_for_else_the_one_of_the_environment(config: Path) -> None:
    environ = {"ANALYTICS_CONFIG": str(config)}
    assert load(None, environ, {}).config_dir == config
    assert load(config, {"ANALYTICS_CONFIG": "/nowhere"}, {}).config_dir == config


def test_a_directory_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path / "absent")
    assert "must be in a directory that exists" in line


def test_numbers_and_flags_are_read_from_text(tmp_path: Path) -> None:
    environ = {"ANALYTICS_PORT": "8080", "ANALYTICS_CHECK_CRCS": "false", "ANALYTICS_DATA_DIR": "7"}
    settings = load(tmp_path, environ, {})
    assert (settings.port, settings.check_crcs, settings.data_dir) == (8080, False, Path("7"))


def test_variables_of_the_tests_and_of_others_are_ignored(tmp_path: Path) -> None:
    environ = {"ANALYTICS_TEST_CACHE": "x", "ANALYTICS_CRASH_AT": "x", "PATH": "x"}
    assert load(tmp_path, environ, {}) == Settings(config_dir=tmp_path)


def test_every_mistake_of_every_source_is_reported_at_once(config: Path) -> None:
    (config / "analytics.toml").write_text("prt = 1\npartitions = 0\n")
    environ = {"ANALYTICS_FLUSHINTERVAL": "1s", "ANALYTICS_REDIS": "localhost"}
    assert mistakes(config, environ, {"data-dir": "x", "port": "http"}) == [
        f"{config}/analytics.toml: prt: is not a known setting (did you mean 'port'?), got 1",
        f"{config}/analytics.toml: partitions: must be a whole number from 1 to 10000, got 0",
        "environment: ANALYTICS_FLUSHINTERVAL: is not a known setting"
        " (did you mean 'ANALYTICS_FLUSH_INTERVAL'?), got '1s'",
        "environment: ANALYTICS_REDIS: must be a URL such as redis://host:6379/0 or"
        " rediss://host:6379/0, got 'localhost'",
        "command line: --port: must be a whole number from 0 to 65535, got 'http'",
    ]


@pytest.mark.parametrize(
    ("url", "addresses", "access"),
    [
        ("kafka://host", ("host:9092",), BrokerAccess()),
        ("kafka://a:1,b:2", ("a:1", "b:2"), BrokerAccess()),
        ("kafka://a:1,kafka://b", ("a:1", "b:9092"), BrokerAccess()),
        ("kafka://[::1]:9092/", ("[::1]:9092",), BrokerAccess()),
        ("kafka+tls://host:9093", ("host:9093",), BrokerAccess(tls=True)),
        (
            "kafka+tls://me:p%40ss@a,b?sasl=SCRAM-SHA-512&ca=/ca.pem",
            ("a:9092", "b:9092"),
            BrokerAccess(True, Path("/ca.pem"), "SCRAM-SHA-512", "me", "p@ss"),
        ),
    ],
)
def test_the_url_of_kafka_gives_addresses_and_access(
    tmp_path: Path, url: str, addresses: tuple[str, ...], access: BrokerAccess
) -> None:
    settings = load(tmp_path, {"ANALYTICS_BROKER": url}, {})
    assert (settings.broker, settings.broker_access) == (addresses, access)


def test_a_password_may_come_from_a_file_of_any_source(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p@ss/word\n")
    environ = {
        "ANALYTICS_CLICKHOUSE": "clickhouse://me@host/db",
        "ANALYTICS_CLICKHOUSE_PASSWORD_FILE": str(secret),
        "ANALYTICS_BROKER": "kafka://me@host",
    }
    settings = load(tmp_path, environ, {"broker_password_file": secret})
    assert settings.clickhouse == "clickhouse://me:p%40ss%2Fword@host/db"
    assert settings.broker_access.password == "p@ss/word"


def test_no_way_of_printing_shows_a_secret(tmp_path: Path) -> None:
    environ = {
        "ANALYTICS_BROKER": "kafka://me:hunter2@host",
        "ANALYTICS_CLICKHOUSE": "clickhouse://me:hunter2@host/db",
        "ANALYTICS_REDIS": "redis://:hunter2@host",
        "ANALYTICS_ARCHIVE": "s3://key:hunter2@bucket/prefix",
    }
    settings = load(tmp_path, environ, {})
    assert "hunter2" not in f"{settings} {settings!r} {settings.effective()}"
    assert settings.effective()["clickhouse"] == "clickhouse://me:***@host/db"


@pytest.mark.parametrize(
    "environ",
    [
        {"ANALYTICS_CLICKHOUSE": "http://me:hunter2@host"},
        {"ANALYTICS_CLICKHOUSE": "clickhouse://me:hun/ter2@host"},
        {"ANALYTICS_BROKER": "kafka://me:hunter2@host?hun=ter2"},
        {"ANALYTICS_REDIS_PASSWORD": "hunter2"},
        {"ANALYTICS_BROKR": "kafka://me:hunter2@host"},
    ],
)
def test_no_mistake_shows_a_secret(tmp_path: Path, environ: dict[str, str]) -> None:
    assert not re.search(r"hunter2|:hun", "\n".join(mistakes(tmp_path, environ)))


def test_the_effective_settings_are_written_as_one_would_write_them(tmp_path: Path) -> None:
    shown = Settings().effective()
    assert (shown["broker"], shown["flush_interval"]) == ("kafka://127.0.0.1:9092", "250ms")
    given = {key: value for key, value in shown.items() if value is not None}
    assert load(tmp_path, {}, given) == Settings(config_dir=tmp_path)


def test_the_file_that_ships_sets_nothing_and_shows_every_default() -> None:
    shipped = (REPOSITORY / "config/analytics.toml").read_text()
    assert tomllib.loads(shipped) == {}
    shown = tomllib.loads("\n".join(re.findall(r"^# (\w+ = .*)$", shipped, re.MULTILINE)))
    defaults = Settings().effective()
    assert shown.keys() == defaults.keys()
    assert {key: shown[key] for key in shown.keys() - EXAMPLES} == {
        key: value for key, value in defaults.items() if value is not None
    }


def test_the_examples_in_the_file_that_ships_are_valid(tmp_path: Path) -> None:
    shipped = (REPOSITORY / "config/analytics.toml").read_text()
    (tmp_path / "analytics.toml").write_text(re.sub(r"^# (\w+ = )", r"\1", shipped, flags=re.M))
    assert load(tmp_path, {}, {}).port == 8080
