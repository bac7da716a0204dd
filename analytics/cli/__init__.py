"""The command line: `main` is the program `analytics`; a command is a module in `commands`.

Importing it stays quick: what a command needs is imported when the command runs.
"""

from pathlib import Path

import click

from analytics.cli.commands.capacity import capacity
from analytics.cli.commands.check import check
from analytics.cli.commands.demo import demo
from analytics.cli.commands.query import query
from analytics.cli.commands.send import send
from analytics.cli.commands.tail import tail
from analytics.cli.commands.topics import topics
from analytics.cli.commands.worker import worker
from analytics.cli.invocation import NAME, Commands, Invocation
from analytics.settings import process_environment

__all__ = ["main"]


@click.group(NAME, cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of analytics.toml and metrics.yaml.  [default: config]",
)
@click.version_option(package_name="streaming-analytics", prog_name=NAME)
@click.pass_context
def main(context: click.Context, config_dir: Path | None) -> None:
    """Real-time metrics over Kafka.

    \b
    Try it:  analytics demo
    """
    context.obj = Invocation(config_dir, process_environment())


for command in (demo, worker, topics, check, send, query, tail, capacity):
    main.add_command(command)
