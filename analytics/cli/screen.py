"""Owns showing numbers that change: in place on a terminal, as lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click

from analytics.cli.tables import Table, rich_table


class Screen(Protocol):
    """Shows the newest state of things; never blocks for long."""

    def say(self, text: str) -> None:
        """Print a line that stays."""

    def show(self, title: str, table: Table) -> None:
        """Show a table under its title, in place of the one before."""


class Lines:
    """For pipes and files: each row is a line of `name=value`, so that tools can read it."""

    def say(self, text: str) -> None:
        """See Screen."""
        click.echo(text)

    def show(self, title: str, table: Table) -> None:
        """See Screen."""
        click.echo(f"{title}; {table.caption}" if table.caption else title)
        for row in table.rows:
            pairs = zip(table.headings, row, strict=True)
            click.echo("  " + " ".join(f"{heading}={text or '-'}" for heading, text in pairs))


@contextmanager
def screen() -> Iterator[Screen]:
    """The screen that suits standard output."""
    if not sys.stdout.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, auto_refresh=False) as live:

        class Terminal:
            """A table of rich that is drawn over."""

            def say(self, text: str) -> None:
                """See Screen."""
                console.print(text, markup=False, highlight=False)

            def show(self, title: str, table: Table) -> None:
                """See Screen."""
                live.update(rich_table(table, title=title), refresh=True)

        yield Terminal()
