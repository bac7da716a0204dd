"""Owns the options that ask for numbers, for `query` and `tail`; must not ask."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from analytics.settings import Settings

WORKER_PORT: Final = 6066
GATEWAY_PORT: Final = 8080

_FILTER: Final = re.compile(r"(?P<field>[^=!<>]+?)\s*(?P<sign>!=|>=|<=|=|>|<)\s*(?P<value>.*)")
_ORDERINGS: Final = {">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
_LISTS: Final = {"=": "in", "!=": "not_in"}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, without its time."""

    metric: tuple[str, ...]
    function: tuple[str, ...]
    group_by: tuple[str, ...]
    filter: tuple[str, ...]
    url: str | None

    def document(self, **time: object) -> dict[str, object]:
        """The document of POST /v1/query. Raises UsageError on a filter that is none."""
        document: dict[str, object] = {"metrics": split(self.metric), **time}
        if self.function:
            document["aggregations"] = split(self.function)
        if self.group_by:
            document["groupBy"] = split(self.group_by)
        if self.filter:
            document["filters"] = filters(self.filter)
        return document

    def urls(self, settings: "Settings") -> tuple[str, ...]:
        """Where to ask, best first: a worker on this machine, then a gateway or the demo."""
        if self.url is not None:
            return (self.url if "://" in self.url else f"http://{self.url}",)
        ports = (settings.port,) if settings.port else (WORKER_PORT, GATEWAY_PORT)
        everywhere = settings.host in ("0.0.0.0", "::")
        host = "127.0.0.1" if everywhere else settings.host
        return tuple(f"http://[{host}]:{p}" if ":" in host else f"http://{host}:{p}" for p in ports)


def asks(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a question, and the Question as its argument `question`."""

    @click.option("--metric", multiple=True, required=True, help="Metric; may be repeated.")
    @click.option(
        "--function", multiple=True, help="count, sum, avg, p95, …; all of the metric's by default."
    )
    @click.option("--group-by", multiple=True, help="Dimension; may be repeated.")
    @click.option(
        "--filter",
        multiple=True,
        metavar="'D=V'",
        help="Dimension and value, with = != > >= < <=; a repeated = means either value.",
    )
    @click.option("--url", help="Worker or gateway.  [default: this machine, port 6066, then 8080]")
    @wraps(command)
    def gather(**options: Any) -> Any:
        names = [one.name for one in fields(Question)]
        question = Question(**{name: options.pop(name) for name in names})
        return command(question=question, **options)

    return gather


def split(values: Iterable[str]) -> list[str]:
    """The values of an option that may be repeated and may hold several with commas."""
    return [each.strip() for value in values for each in value.split(",") if each.strip()]


def filters(texts: Iterable[str]) -> list[dict[str, object]]:
    """The filters of a document: all of them must hold, of several = for a dimension one."""
    lists: dict[tuple[str, str], list[str]] = {}
    found: list[dict[str, object]] = []
    for text in texts:
        match = _FILTER.fullmatch(text.strip())
        if match is None:
            raise click.UsageError(f"--filter must be 'DIMENSION=VALUE', got {text!r}")
        field, sign, value = match["field"], match["sign"], match["value"]
        if sign in _ORDERINGS:
            found.append({"field": field, "op": _ORDERINGS[sign], "value": value})
        else:
            lists.setdefault((field, _LISTS[sign]), []).append(value)
    for (field, op), values in lists.items():
        found.append({"field": field, "op": op, "value": values})
    return found
