"""Owns what the demo's live table asks and in which words it invites to ask more; must not ask."""

import shlex
from dataclasses import dataclass
from typing import Final

from analytics.core.definitions.catalog import Catalog
from analytics.core.query.functions import functions_of
from analytics.errors import ConfigError, Mistake

PREFERRED_METRIC: Final = "departures"
PREFERRED_FUNCTIONS: Final = ("count", "p50", "p95", "max")
ROWS_MAX: Final = 10
LAST: Final = "1m"


@dataclass(frozen=True, slots=True)
class Board:
    """The metric on show, its functions, and the dimension that makes the rows, if it has one."""

    metric: str
    functions: tuple[str, ...]
    group_by: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """The document of POST /v1/query for the table, busiest rows first."""
        return {
            "metrics": [self.metric],
            "aggregations": [*self.functions],
            "groupBy": [*self.group_by],
            "timeRange": {"last": LAST},
            "orderBy": [{"field": f"{self.metric}.count", "direction": "desc"}],
            "limit": ROWS_MAX,
        }

    def example(self, url: str | None) -> str:
        """A command line that asks about the same metric; `url` None where none is needed."""
        function = "p95" if "p95" in self.functions else "count"
        words = ["analytics", "query", "--metric", self.metric, "--function", function]
        for dimension in self.group_by:
            words += ["--group-by", dimension]
        words += ["--last", "5m", *(["--url", url] if url else [])]
        return shlex.join(words)


def board_of(catalog: Catalog, file: str) -> Board:
    """The board for the metrics of `file`; raises ConfigError when there is none to show."""
    if not catalog.metrics:
        raise ConfigError([Mistake(file, "metrics", "must declare a metric to show", {})])
    metric = catalog.by_name.get(PREFERRED_METRIC, catalog.metrics[0])
    answerable = functions_of(metric)
    return Board(
        metric.name,
        tuple(function for function in PREFERRED_FUNCTIONS if function in answerable),
        tuple(dimension.name for dimension in metric.dimensions[:1]),
    )
