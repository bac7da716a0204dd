"""Owns the proof that the documents tell the truth; must not judge their prose."""

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.house.markdown import code, code_lines, missing_link, relative_links
from tests.house.sources import ROOT, files
from tests.services.oracle.page import PAGE, rendered

# In a code line: at its start or after a shell's separator, with or without the path to a venv.
ANALYTICS = re.compile(
    r"(?:^|[;&|(]\s*|\bin\s+|\s)(?:\S*/)?(?:python3? -m )?analytics\s+([^;&|#)]+)"
)
MAKE = re.compile(r"(?:^|[;&|(]\s*)make\s+([a-z][a-z-]*)")


def pages() -> list[Path]:
    """Return every Markdown file of the repository."""
    return [path for path in files() if path.suffix == ".md"]


def manuals() -> list[Path]:
    """Return the pages whose commands a reader will type."""
    tops = {ROOT / "README.md", ROOT / "CONTRIBUTING.md"}
    return [page for page in pages() if page in tops or page.is_relative_to(ROOT / "docs")]


def documented_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield where a command line of ours is documented, and its words after `analytics`."""
    for page in manuals():
        for line in code_lines(page.read_text()):
            for match in ANALYTICS.finditer(line):
                words = shlex.split(match[1].replace("'", "").replace('"', ""))
                yield f"{page.relative_to(ROOT)}: {line}", words


def command_path(main: click.Command, words: list[str]) -> list[str] | None:
    """Return the names of the commands that `words` walk through, or None when one is unknown."""
    path: list[str] = []
    command: click.Command | None = main
    remaining = iter(words)
    for word in remaining:
        if not isinstance(command, click.Group):
            break
        if word.startswith("-"):
            if "=" not in word and _takes_value(command, word):
                next(remaining, None)
            continue
        command = command.get_command(click.Context(command), word)
        if command is None:
            return None
        path.append(word)
    return path


def _takes_value(command: click.Command, option: str) -> bool:
    return any(
        isinstance(parameter, click.Option) and option in parameter.opts and not parameter.is_flag
        for parameter in command.params
    )


def test_there_are_pages_to_judge() -> None:
    assert manuals()


def test_every_relative_link_leads_somewhere() -> None:
    assert [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        for target in relative_links(page.read_text())
        if missing_link(page, target)
    ] == []


def test_every_documented_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (str(page.relative_to(ROOT)), target)
        for page in manuals()
        for piece in code(page.read_text())
        for target in MAKE.findall(piece)
    }
    assert named
    assert {(page, target) for page, target in named if target not in targets} == set()


def test_every_documented_command_exists() -> None:
    if importlib.util.find_spec("analytics.cli") is None:
        pytest.skip("there is no command line yet")
    main = importlib.import_module("analytics.cli").main
    commands = list(documented_commands())
    paths = {place: command_path(main, words) for place, words in commands}

    assert [place for place, path in paths.items() if path is None] == []
    for path in {tuple(path) for path in paths.values() if path}:
        shown = CliRunner().invoke(main, [*path, "--help"])
        assert shown.exit_code == 0, f"analytics {' '.join(path)} --help: {shown.output}"
    if (ROOT / "README.md").exists():
        assert commands


def test_the_tables_of_reliability_are_those_of_the_results() -> None:
    page = PAGE.read_text()
    assert page == rendered(page), "run python -m tests.services.oracle.page"
