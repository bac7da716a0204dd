"""Owns the tests of the configuration directory, and the walk through one bad file per message."""

from pathlib import Path

import pytest

from analytics.configuration import load_configuration
from analytics.core.definitions.catalog import EMPTY
from analytics.errors import ConfigError
from analytics.settings import Settings

REPOSITORY = Path(__file__).parents[2]
BAD_FILES = sorted((REPOSITORY / "tests/data/bad_config").iterdir())
NAMES = {".yaml": "metrics.yaml", ".toml": "analytics.toml"}


def mistakes(config_dir: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_configuration(config_dir, {}, {})
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_a_bad_file_gives_exactly_the_message_of_its_first_line(bad: Path, tmp_path: Path) -> None:
    file = tmp_path / NAMES[bad.suffix]
    file.write_bytes(bad.read_bytes())
    message = bad.read_text().splitlines()[0].removeprefix("# ")
    assert mistakes(tmp_path) == [f"{file}: {message}"]


def test_an_empty_directory_means_the_defaults(tmp_path: Path) -> None:
    configuration = load_configuration(tmp_path, {}, {})
    assert configuration.settings == Settings(config_dir=tmp_path)
    assert configuration.catalog == EMPTY


def test_the_configuration_that_ships_is_valid() -> None:
    catalog = load_configuration(REPOSITORY / "config", {}, {}).catalog
    assert {"departures", "arrivals_late", "cancellations"} <= catalog.by_name.keys()
    windows = [metric.window for metric in catalog.metrics]
    assert any(window.advance_ms < window.size_ms for window in windows)


def test_mistakes_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "analytics.toml").write_text("port = -1\n")
    (tmp_path / "metrics.yaml").write_text("metrics: {m: {}}\n")
    assert mistakes(tmp_path) == [
        f"{tmp_path}/analytics.toml: port: must be a whole number from 0 to 65535, got -1",
        f"{tmp_path}/metrics.yaml: metrics.m.window: is required, got nothing",
    ]


@pytest.mark.parametrize("name", NAMES.values())
def test_a_file_that_is_no_text_or_too_long_is_a_mistake(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe")
    assert "must be a file of UTF-8 text" in mistakes(tmp_path)[0]
    (tmp_path / name).write_bytes(b"#" * (1 << 20) + b"#")
    assert "must be a file of at most 1048576 bytes" in mistakes(tmp_path)[0]
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert "must be a file of UTF-8 text" in mistakes(tmp_path)[0]


@pytest.mark.parametrize("name", NAMES.values())
def test_bottomless_nesting_is_a_mistake(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(("metrics: " if name.endswith("yaml") else "x = ") + "[" * 100_000)
    (line,) = mistakes(tmp_path)
    assert len(line) < 500
