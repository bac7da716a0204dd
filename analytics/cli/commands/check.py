"""The command `analytics check`."""

import click

from analytics.cli.invocation import Invocation


@click.command()
@click.option("--show", is_flag=True, help="Print every setting in effect, secrets masked.")
@click.pass_obj
def check(invocation: Invocation, show: bool) -> None:
    """Validate every setting and configuration file.

    Prints a line for each mistake, with its file and path, and exits with 2.

    \b
    Example:  analytics check --show
    """
    configuration = invocation.configuration()
    settings, catalog = configuration.settings, configuration.catalog
    if show:
        effective = settings.effective()
        width = max(map(len, effective))
        for key, value in effective.items():
            click.echo(f"{key:<{width}}  {'-' if value is None else value}")
    names = ", ".join(metric.name for metric in catalog.metrics)
    counted = f"{len(catalog.metrics)} metrics ({names})" if names else "no metrics"
    click.echo(f"{settings.config_dir}: {len(settings.effective())} settings, {counted}: all valid")
