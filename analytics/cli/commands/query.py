"""The command `analytics query`."""

import asyncio
import sys
from typing import Any

import click

from analytics.cli.invocation import Invocation
from analytics.cli.question import Question, asks

LAST_DEFAULT = "15m"


@click.command()
@asks
@click.option("--last", help="Length of the range up to now.  [default: 15m]")
@click.option("--from", "start", metavar="TIME", help="RFC 3339 or epoch milliseconds.")
@click.option("--to", "end", metavar="TIME", help="The end of the range, now by default.")
@click.option("--step", help="A row for each 1m, 1h, …; one for the whole range by default.")
@click.option(
    "--format", "shape", type=click.Choice(["table", "json", "csv"]), default="table",
    show_default=True,
)  # fmt: skip
@click.pass_obj
def query(invocation: Invocation, /, question: Question, shape: str, **time: str | None) -> None:
    """Ask a worker or gateway for numbers.

    \b
    Example:
      analytics query --metric departures --function count,p95 --group-by source --last 5m
    """
    document = question.document(**_time(time))
    urls = question.urls(invocation.settings())
    asyncio.run(_ask(urls, document, shape))


def _time(given: dict[str, str | None]) -> dict[str, object]:
    """The part of the document about time; raises UsageError when it contradicts itself."""
    last, start, end, step = (given[name] for name in ("last", "start", "end", "step"))
    if last and (start or end):
        raise click.UsageError("--last excludes --from and --to")
    if end and not start:
        raise click.UsageError("--to needs --from")
    if start:
        period = {"from": moment(start)} | ({"to": moment(end)} if end else {})
    else:
        period = {"last": last or LAST_DEFAULT}
    return {"timeRange": period} | ({"step": step} if step else {})


def moment(text: str) -> str | int:
    """Digits are epoch milliseconds; everything else is left for the server to read."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


async def _ask(urls: tuple[str, ...], document: dict[str, Any], shape: str) -> None:
    from analytics.client import CSV, JSON, Client, first_answering

    async with Client(urls[0] if len(urls) == 1 else await first_answering(urls)) as client:
        if shape != "table":
            content = await client.query_as(JSON if shape == "json" else CSV, document)
            click.echo(content, nl=shape == "json")
            return
        from analytics.cli.tables import of_reply, plain, rich_table

        reply = await client.query(document)
    table = of_reply(reply, timestamps=True)
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(rich_table(table))
    else:
        click.echo(plain(table))
