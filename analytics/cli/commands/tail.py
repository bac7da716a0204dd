"""The command `analytics tail`."""

import asyncio
from contextlib import suppress
from typing import Any

import click

from analytics.cli.invocation import Invocation, complain
from analytics.cli.question import Question, asks
from analytics.errors import TransportError

REFRESH_SECONDS = 1.0


@click.command()
@asks
@click.option("--last", default="1m", show_default=True, help="Length of the range up to now.")
@click.option("--duration", type=click.FloatRange(0, min_open=True), help="Seconds until the end.")
@click.pass_obj
def tail(invocation: Invocation, question: Question, last: str, duration: float | None) -> None:
    """Show live values each second, until Ctrl-C.

    \b
    Example:  analytics tail --metric departures --function count,p95 --group-by source
    """
    document = question.document(timeRange={"last": last})
    urls = question.urls(invocation.settings())
    asyncio.run(_follow(urls, document, duration))


async def _follow(urls: tuple[str, ...], document: dict[str, Any], duration: float | None) -> None:
    from analytics import clock
    from analytics.cli.screen import screen
    from analytics.cli.signals import stopping
    from analytics.cli.tables import of_reply, time_text
    from analytics.client import Client, first_answering

    title = f"{', '.join(document['metrics'])}, last {document['timeRange']['last']}"
    with stopping(after_seconds=duration) as stop:
        async with Client(await first_answering(urls)) as client:
            with screen() as shown:
                while not stop.is_set():
                    try:
                        table = of_reply(await client.query(document), timestamps=False)
                    except TransportError as error:
                        if not error.recoverable:
                            raise
                        complain(error)  # and ask again: metrics move when workers come and go
                    else:
                        now = time_text(clock.now_ms() // 1000 * 1000)
                        shown.show(f"{now} {title}", table)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), REFRESH_SECONDS)
