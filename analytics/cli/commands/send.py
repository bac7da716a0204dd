"""The command `analytics send`."""

import click

from analytics.cli.invocation import FAILED, Invocation, leave

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--topic", help="Topic to send to.  [default: events, with the prefix]")
@click.option(
    "--frame", type=click.IntRange(1, 100_000), default=500, show_default=True,
    help="Lines of a record; fewer when they reach 900 KB.",
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Events a second, at most.")
@click.option("--compression", type=click.Choice(CODECS), default="none", show_default=True)
@click.pass_obj
def send(invocation: Invocation, /, **options: object) -> None:
    """Send events to Kafka: the lines of FILE, or of standard input for -.

    Each line is one JSON object. Ends with the lines that were acknowledged and rejected, and
    with 1 unless all were acknowledged. Ctrl-C stops reading and waits for what is under way.

    \b
    Example:
      echo '{"id":"1","timestamp":"2026-11-24T00:00:00Z","type":"t","source":"s"}' \\
        | analytics send -
    """
    from analytics.cli.feeding import Feed, feed

    complete = feed(invocation.settings(), Feed(**options))  # type: ignore[arg-type]  # click's
    if not complete:
        leave(FAILED)
