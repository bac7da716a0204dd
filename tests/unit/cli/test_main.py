"""Tests of the program as a whole: its help, its exit codes and how fast it is imported."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from analytics.cli import main

# What would make `analytics --help` slow.
HEAVY = ("aiokafka", "faust", "httpx", "numpy", "polars", "pyarrow", "rich", "structlog", "yaml")


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    """The path of every command and group below `group`."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, *path, name)
    return found


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_the_help_of_every_command_has_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])

    assert result.exit_code == 0
    example = result.output.partition("Example:")[2]
    assert f"analytics {' '.join(path)}" in example


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == "analytics, version 0.1.0\n"


@pytest.mark.parametrize("arguments", [["nothing"], ["query"], ["demo", "--rate", "0"]])
def test_wrong_use_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_importing_the_program_loads_nothing_heavy() -> None:
    script = f"import sys, analytics.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_program_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "analytics", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("Usage: analytics ")


def test_a_valid_configuration_is_counted() -> None:
    result = CliRunner().invoke(main, ["--config", "config", "check"])

    assert result.exit_code == 0
    assert result.output.startswith("config: ")
    assert "departures" in result.output


def test_every_mistake_is_a_line_and_the_exit_code_is_2(tmp_path: Path) -> None:
    (tmp_path / "analytics.toml").write_text('flush_intervall = "250ms"\npartitions = 0\n')
    (tmp_path / "metrics.yaml").write_text("metrics: {Bad-Name: {window: {size: 10s}}}\n")

    result = CliRunner().invoke(main, ["--config", str(tmp_path), "check"])

    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert any("analytics.toml: flush_intervall: " in line for line in lines)
    assert any("analytics.toml: partitions: " in line for line in lines)
    assert any("metrics.yaml: metrics" in line for line in lines)
    assert "Traceback" not in result.stderr


def test_the_settings_in_effect_are_shown_without_secrets() -> None:
    environ = {"ANALYTICS_CLICKHOUSE": "clickhouse://me:hunter2@db:9000/analytics"}

    result = CliRunner().invoke(main, ["check", "--show"], env=environ)

    assert result.exit_code == 0
    assert "clickhouse://me:***@db:9000/analytics" in result.output
    assert "hunter2" not in result.output
