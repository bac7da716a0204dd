"""The command `analytics worker`."""

from pathlib import Path

import click

from analytics.cli.invocation import Invocation, leave

PORT_MAX = 65_535


@click.command()
@click.option("--port", type=click.IntRange(0, PORT_MAX), help="Port of HTTP.  [default: 6066]")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where state is kept."
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="More than one: run so many, on this port and the next ones, and start again what ends.",
)
@click.pass_obj
def worker(invocation: Invocation, port: int | None, data_dir: Path | None, processes: int) -> None:
    """Run one stream worker until Ctrl-C or SIGTERM, or several of them.

    Start as many as there is work for, about one a processor; they share the partitions. With
    --processes each has a folder of its own in the data directory: worker-0, worker-1 …

    \b
    Example:  analytics worker --port 6066 --data-dir ./data
              analytics worker --processes 4
    """
    directory = None if data_dir is None else str(data_dir)
    configuration = invocation.configuration(port=port, data_dir=directory)
    if processes == 1:
        from analytics.worker import run

        leave(run(configuration))
    from analytics.cli.workers import Workers, keep_running

    if configuration.settings.port == 0:
        raise click.UsageError("--processes needs a port to count from")
    workers = Workers(processes, configuration.settings, invocation.config_dir)
    if workers.last_port > PORT_MAX:
        raise click.UsageError(
            f"{processes} workers from this port on need port {workers.last_port}"
        )
    leave(keep_running(workers))
