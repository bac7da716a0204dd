"""Owns the house rules on size and on banned words; must not judge what a tool already judges."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.classes import inheritance_depths
from tests.house.sources import ROOT, Source, product_sources, sources, texts

MODULE_LINES_MAX = 400
TEST_MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 6
FOLDER_MODULES_MAX = 12
TEST_FOLDER_MODULES_MAX = 20
FOLDER_DEPTH_MAX = 3
INHERITANCE_DEPTH_MAX = 1

# Where a line on the terminal is the product.
MAY_PRINT = re.compile(r"analytics/(cli(/|\.py$)|__main__\.py$)|benchmarks/")
MUST_NOT_SLEEP = ("tests/unit/", "tests/property/", "tests/contract/", "tests/house/")

BANNED_TEXT = {
    r"\b(TODO|FIXME|XXX|HACK)\b": "do it, or open an issue",
    r"#\s*type:\s*ignore(?!\[)": "name the error code: type: ignore[code]",
    r"(?<![\w./~-])/(work|root|home|Users)/": "no path of one machine",
    r"pypi\.org|pythonhosted\.org|npmjs\.org|maven\.org|deb\.debian\.org|crates\.io": (
        "no registry host: whoever installs chooses it"
    ),
}
THIS_FILE = Path(__file__).relative_to(ROOT).as_posix()

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: Source) -> Iterator[Function]:
    """Yield every function and method of a module, nested ones too."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            yield node


def body_lines(function: Function) -> int:
    """Count the lines of a function's body without its docstring."""
    first = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
    return (function.end_lineno or 0) - first[0].lineno + 1 if first else 0


def parameters(function: Function) -> int:
    """Count what a caller may pass, without `self`, `cls` and variadics."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    receiver = bool(named) and named[0].arg in {"self", "cls"}
    return len(named) - receiver + len(arguments.kwonlyargs)


def test_there_is_code_to_judge() -> None:
    assert product_sources()
    assert len(sources()) > len(product_sources())


def test_modules_are_short() -> None:
    assert [
        f"{source.name}: {lines} lines"
        for source in sources()
        if (lines := source.text.count("\n"))
        > (TEST_MODULE_LINES_MAX if source.room == "tests" else MODULE_LINES_MAX)
    ] == []


def test_functions_are_short() -> None:
    assert [
        f"{source.name}:{function.lineno} {function.name}: {lines} lines"
        for source in sources()
        for function in functions(source)
        if (lines := body_lines(function)) > FUNCTION_LINES_MAX
    ] == []


def test_functions_take_few_parameters() -> None:
    assert [
        f"{source.name}:{function.lineno} {function.name}: {count} parameters"
        for source in sources()
        for function in functions(source)
        if (count := parameters(function)) > PARAMETERS_MAX
    ] == []


def test_folders_hold_few_modules() -> None:
    counts = Counter(
        source.path.parent for source in sources() if source.path.name != "__init__.py"
    )
    assert [
        f"{folder.relative_to(ROOT)}: {count} modules"
        for folder, count in counts.items()
        if count
        > (TEST_FOLDER_MODULES_MAX if folder.is_relative_to(ROOT / "tests") else FOLDER_MODULES_MAX)
    ] == []


def test_folders_are_shallow() -> None:
    assert [
        source.name
        for source in sources()
        if len(source.path.relative_to(ROOT).parts) - 2 > FOLDER_DEPTH_MAX
    ] == []


def test_our_classes_inherit_from_one_of_ours_at_most() -> None:
    assert {
        place: depth
        for place, depth in inheritance_depths(sources()).items()
        if depth > INHERITANCE_DEPTH_MAX
    } == {}


def test_every_module_says_what_it_owns() -> None:
    assert [source.name for source in sources() if not ast.get_docstring(source.tree)] == []


@pytest.mark.parametrize("pattern", BANNED_TEXT)
def test_no_file_holds_banned_text(pattern: str) -> None:
    banned = re.compile(pattern)
    assert [
        f"{name}:{number}: {BANNED_TEXT[pattern]}: {line.strip()[:80]}"
        for name, text in texts()
        if name != THIS_FILE and banned.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if banned.search(line)
    ] == []


def test_only_the_command_line_prints() -> None:
    assert [
        f"{source.name}:{node.lineno}"
        for source in sources()
        if not MAY_PRINT.match(source.name)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ] == []


def test_no_error_is_swallowed() -> None:
    assert [
        f"{source.name}:{node.lineno}"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler)
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ] == []


def test_fast_tests_do_not_sleep() -> None:
    assert [
        f"{source.name}:{node.lineno}"
        for source in sources()
        if source.name.startswith(MUST_NOT_SLEEP)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
    ] == []
