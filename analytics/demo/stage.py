"""Owns the demo's processes from start to end: broker and worker; whatever happens, they end."""

import shutil
import sys
import tempfile
from asyncio import Event
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analytics.cli.screen import Screen
from analytics.configuration import load_configuration
from analytics.demo.broker import EmbeddedBroker, EmbeddedBrokerError, free_port
from analytics.errors import AnalyticsError
from analytics.process.child import ChildProcess
from analytics.settings import PREFIX

SAMPLE_CONFIG: Final = Path(__file__).parent / "config"

#: The embedded broker lets the first member of a group wait for about half of it.
SESSION_TIMEOUT: Final = "3s"
#: With what the replay and the broker take, the end comes within ten seconds.
WORKER_STOP_SECONDS_MAX: Final = 4.0

#: Made anew each time: the broker forgets its offsets, so a worker must not remember them either.
WORKER_FOLDER: Final = "demo-worker"


class DemoError(AnalyticsError):
    """A part of the demo did not start or ended by itself; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo is asked for; `data_dir` None means a temporary one, `environ` is ours."""

    config_dir: Path
    environ: Mapping[str, str]
    port: int
    rate: float
    data_dir: Path | None

    @property
    def url(self) -> str:
        """Where the worker listens."""
        return f"http://127.0.0.1:{self.port}"


async def perform(plan: Plan, screen: Screen, stop: Event) -> None:
    """Run everything until `stop` is set, then end it, within ten seconds.

    Call it in the main thread, which the child processes are tied to. Raises AnalyticsError when a
    part fails; whatever the reason for the end, no process, port or temporary file is left behind.
    """
    with (
        _named_errors(plan),
        _directory(plan.data_dir) as directory,
        EmbeddedBroker(log_path=_log(directory, "broker")) as broker,
    ):
        environ = _environment(plan.environ, broker)
        configuration = load_configuration(plan.config_dir, environ, {})
        with _worker(plan, directory, environ) as worker:
            screen.say(f"broker  kafka://{broker.bootstrap}")
            # A second of imports, while the worker has its own.
            from analytics.demo.play import Play

            await Play(plan, configuration, worker, screen).run(stop)


@contextmanager
def _worker(plan: Plan, directory: Path, environ: Mapping[str, str]) -> Iterator[ChildProcess]:
    free_port(plan.port)
    state = directory / WORKER_FOLDER
    shutil.rmtree(state, ignore_errors=True)
    command = [sys.executable, "-m", "analytics", "--config", str(plan.config_dir), "worker"]
    command += ["--port", str(plan.port), "--data-dir", str(state)]
    child = ChildProcess(command, _log(directory, "worker"), environment=environ)
    child.start()
    try:
        yield child
    finally:
        child.stop(grace_seconds=WORKER_STOP_SECONDS_MAX)


def _environment(environ: Mapping[str, str], broker: EmbeddedBroker) -> Mapping[str, str]:
    """The environment of the demo's processes: ours, but nothing that leads to real services."""
    foreign = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    return foreign | {
        f"{PREFIX}BROKER": f"kafka://{broker.bootstrap}",
        f"{PREFIX}SESSION_TIMEOUT": SESSION_TIMEOUT,
    }


def _log(directory: Path, part: str) -> Path:
    """The path of a part's log, without what a former demo wrote there."""
    path = directory / f"{part}.log"
    path.unlink(missing_ok=True)
    return path


@contextmanager
def _directory(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="analytics-demo-") as name:
        yield Path(name)


@contextmanager
def _named_errors(plan: Plan) -> Iterator[None]:
    """Turn what the parts raise into errors that the command line reports in a line."""
    try:
        yield
    except EmbeddedBrokerError as error:
        taken = str(error).startswith(f"port {plan.port} ")
        hint = "; choose another one with --port" if taken else ""
        raise DemoError(f"{error}{hint}") from error
    except BrokenPipeError:
        raise  # whoever read our output has gone: no error of the demo
    except OSError as error:
        raise DemoError(f"the demo cannot run here: {error}") from error
