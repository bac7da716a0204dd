"""The command `analytics worker`."""

from pathlib import Path

import click

from analytics.cli.invocation import Invocation, leave


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of HTTP.  [default: 6066]")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where state is kept."
)
@click.pass_obj
def worker(invocation: Invocation, port: int | None, data_dir: Path | None) -> None:
    """Run one stream worker until Ctrl-C or SIGTERM.

    Start as many as there is work for; they share the partitions.

    \b
    Example:  analytics worker --port 6066 --data-dir ./data
    """
    directory = None if data_dir is None else str(data_dir)
    configuration = invocation.configuration(port=port, data_dir=directory)
    from analytics.worker import run

    leave(run(configuration))
