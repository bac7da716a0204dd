"""Owns installing rivals into the shared cache, apart from the product; must not run them."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import tell
from tests.services.environment import cache_root

INSTALL_SECONDS_MAX = 600
_REASON_CHARS_MAX = 200


class Unavailable(RuntimeError):
    """A rival cannot be had on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class OurPython:
    """A module that needs nothing beyond our own lock file."""

    module: str

    @property
    def program(self) -> str:
        """The file that a reader looks at."""
        return f"{self.module.replace('.', '/')}.py"

    def install(self) -> list[str]:
        """The command that runs it."""
        return [sys.executable, "-m", self.module]


@dataclass(frozen=True, slots=True)
class OwnPython:
    """A script with a virtual environment of its own, as its requirements file pins it."""

    script: Path
    requirements: Path

    @property
    def program(self) -> str:
        """The file that a reader looks at."""
        return f"benchmarks/candidates/{self.script.name}"

    def install(self) -> list[str]:
        """The command that runs it; raises Unavailable."""
        home = cached(f"rival-{self.script.stem}", [self.requirements], self._fill)
        return [str(home / "venv" / "bin" / "python"), str(self.script)]

    def _fill(self, home: Path) -> None:
        uv = _uv()
        execute(uv, "venv", "--quiet", "--python", sys.executable, str(home / "venv"))
        python = str(home / "venv" / "bin" / "python")
        execute(
            *(uv, "pip", "install", "--quiet", "--python", python),
            *("--requirement", str(self.requirements)),
        )


@dataclass(frozen=True, slots=True)
class Java:
    """A class with the jars of its pom, and of its requirements where wheels bring some."""

    folder: Path
    main: str
    options: tuple[str, ...]
    requirements: Path | None = None

    @property
    def program(self) -> str:
        """The file that a reader looks at."""
        return f"benchmarks/java/{self.folder.name}/{self.main}.java"

    def install(self) -> list[str]:
        """The command that runs it; raises Unavailable."""
        sources = sorted(self.folder.glob("*.java"))
        inputs = [self.folder / "pom.xml", *sources]
        if self.requirements is not None:
            inputs.append(self.requirements)
        home = cached(f"rival-{self.folder.name}", inputs, self._fill)
        return [_program("java"), *self.options, "-cp", _classpath(home), self.main]

    def _fill(self, home: Path) -> None:
        execute(
            *(_program("mvn"), "--quiet", "--batch-mode", "--file", str(self.folder / "pom.xml")),
            *("dependency:copy-dependencies", "-DincludeScope=runtime"),
            f"-DoutputDirectory={home / 'jars'}",
        )
        if self.requirements is not None:
            execute(
                *(_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--no-deps"),
                *("--target", str(home / "wheels"), "--requirement", str(self.requirements)),
            )
        sources = map(str, sorted(self.folder.glob("*.java")))
        classes = str(home / "classes")
        execute(_program("javac"), "-nowarn", "-d", classes, "-cp", _classpath(home), *sources)


def pins(requirements: Path) -> list[str]:
    """The lines `name==version` of a requirements file; the first is the rival itself."""
    lines = requirements.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def cached(name: str, inputs: Sequence[Path], fill: Callable[[Path], None]) -> Path:
    """Return a directory of the cache that `fill` filled from `inputs` as they are now.

    It counts only with its stamp, so what was interrupted or has other inputs starts again. Safe in
    several processes at once: one fills, the others wait.
    """
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    home, stamp = root / name, root / name / "complete"
    wanted = hashlib.sha256(b"\0".join(each.read_bytes() for each in inputs)).hexdigest()
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            tell(f"install {name} into the cache, which may take minutes")
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            fill(home)
            stamp.write_text(wanted)
    return home


def execute(*command: str) -> None:
    """Run a step of an installation; raises Unavailable with the last thing it said."""
    name = Path(command[0]).name
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{name} took more than {INSTALL_SECONDS_MAX} s") from error
    if run.returncode != 0:
        said = [line.strip() for line in f"{run.stdout}{run.stderr}".splitlines() if line.strip()]
        raise Unavailable(f"{name} failed: {said[-1] if said else ''}"[:_REASON_CHARS_MAX])


def _classpath(home: Path) -> str:
    wheels = [str(jar) for jar in sorted((home / "wheels").glob("*/lib/*.jar"))]
    return ":".join([str(home / "classes"), str(home / "jars" / "*"), *wheels])


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else _program("uv")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed")
    return path
