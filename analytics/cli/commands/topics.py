"""The commands `analytics topics …`."""

import asyncio

import click

from analytics.cli.invocation import FAILED, Invocation, complain, leave


@click.group()
def topics() -> None:
    """Kafka topics.

    \b
    Example:  analytics topics create
    """


@topics.command()
@click.pass_obj
def create(invocation: Invocation) -> None:
    """Create the topics that are missing; safe to repeat.

    \b
    Example:  analytics topics create
    """
    settings = invocation.settings()
    from analytics.cli.quiet import quiet_clients
    from analytics.transport.admin import create_topics

    quiet_clients()
    report = asyncio.run(create_topics(settings))
    for name in report.created:
        click.echo(f"created {name}")
    for name in report.existing:
        click.echo(f"exists  {name}")
    for mismatch in report.mismatched:
        complain(mismatch)
    if report.mismatched:
        leave(FAILED)
