"""Owns what all commands share: the configuration asked for, and how errors become exit codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from analytics.errors import AnalyticsError, ConfigError, QueryError

if TYPE_CHECKING:
    from analytics.configuration import Configuration
    from analytics.settings import Settings

NAME: Final = "analytics"
FAILED: Final = 1
WRONG_USE: Final = 2


@dataclass(frozen=True, slots=True)
class Invocation:
    """What stood before the command, and the environment; configuration is read on demand."""

    config_dir: Path | None
    environ: Mapping[str, str]

    def configuration(self, **overrides: object) -> "Configuration":
        """The whole configuration; an override of None is not given. Raises ConfigError."""
        from analytics.configuration import load_configuration

        return load_configuration(self.config_dir, self.environ, overrides)

    def settings(self, **overrides: object) -> "Settings":
        """The settings alone. Raises ConfigError."""
        from analytics.settings import load

        return load(self.config_dir, self.environ, overrides)


class Commands(click.Group):
    """A group whose commands end on an expected error with a line for each mistake, no traceback.

    Exit codes: 2 for wrong use or configuration, 1 for what failed while running.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except AnalyticsError as error:
            complain(error)
            ctx.exit(WRONG_USE if isinstance(error, ConfigError | QueryError) else FAILED)


def complain(error: object) -> None:
    """Print a mistake to standard error, a line for each of its lines, with our name before it."""
    for line in str(error).splitlines():
        click.echo(f"{NAME}: {line}", err=True)


def leave(code: int) -> NoReturn:
    """End the running command with an exit code."""
    click.get_current_context().exit(code)
