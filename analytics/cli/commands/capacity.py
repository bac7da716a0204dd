"""The command `analytics capacity`."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from analytics.cli.tables import Table, plain
from analytics.core.capacity import Assumptions, Costs, Line, Load, Plan, Range

_PARTS = (Load, Costs, Assumptions)


def _amount(amount: Any) -> str:
    """Some three digits: a plan is not more exact than that."""
    digits = 0 if amount == int(amount) or amount >= 100 else 1 if amount >= 10 else 2
    return f"{amount:,.{digits}f}"


class _Number(click.ParamType):
    """A finite number of a range."""

    def __init__(self, allowed: Range, *, whole: bool) -> None:
        self.name = "integer" if whole else "number"
        self._allowed = allowed
        self._parse: Callable[[Any], float] = int if whole else float

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number; fails with the rule it breaks."""
        try:
            number = self._parse(value)
        except ValueError:
            self.fail(f"{value!r} is no {self.name}.", param, ctx)
        least, most = self._allowed
        if not least <= number <= most:
            self.fail(f"must be at least {least:g} and at most {most:g}, got {value}.", param, ctx)
        return number


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for every number of a plan, in their order."""
    for part in reversed(_PARTS):
        for one in reversed(dataclasses.fields(part)):
            command = _option(one)(command)
    return command


def _option(one: dataclasses.Field[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    told = one.metadata["help"]
    return click.option(
        f"--{one.name.replace('_', '-')}",
        type=_Number(one.metadata["allowed"], whole=isinstance(one.default, int)),
        default=one.default,
        help=f"{told[0].upper()}{told[1:]}.  [default: {_amount(one.default)}]",
    )


@click.command()
@_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def capacity(as_json: bool, **numbers: Any) -> None:
    """Plan on paper what a load takes: workers, memory, brokers, money.

    What an event costs comes from the benchmarks (docs/benchmarks.md); what a series costs is an
    estimate; hardware and prices are assumptions. Put in your own numbers: every one of them is an
    option. Nothing is read from the configuration, and nothing is asked of any server.

    \b
    Example:  analytics capacity
              analytics capacity --rate 50000 --partitions 16 --metrics 30
              analytics capacity --zones 3 --compression 4 --json
    """
    plan = Plan(
        load=Load(**_numbers_of(Load, numbers)),
        costs=Costs(**_numbers_of(Costs, numbers)),
        assumptions=Assumptions(**_numbers_of(Assumptions, numbers)),
    )
    if plan.workers > plan.load.partitions:
        needed = f"it takes {plan.workers:,} workers, and a partition feeds one at most"
        raise click.BadOptionUsage("--partitions", f"--partitions {plan.load.partitions}: {needed}")
    if as_json:
        lines = [line._asdict() for line in plan.lines()]
        click.echo(json.dumps(lines, indent=2, ensure_ascii=False))
    else:
        click.echo(plain(_table(plan.lines())))


def _numbers_of(part: type, numbers: Mapping[str, Any]) -> Mapping[str, Any]:
    return {one.name: numbers[one.name] for one in dataclasses.fields(part)}


def _table(lines: Iterable[Line]) -> Table:
    return Table(
        headings=("figure", "amount", "unit", "from"),
        numeric=(False, True, False, False),
        rows=tuple((one.name, _amount(one.amount), one.unit, one.why) for one in lines),
    )
