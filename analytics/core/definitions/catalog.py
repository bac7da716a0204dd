"""Owns the set of metrics in force at one moment; a changed definition makes a new catalog."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from analytics.core.definitions.metric import Metric
from analytics.core.definitions.paths import FieldPath


@dataclass(frozen=True)
class Catalog:
    """Metrics in the order of their declaration, every name once.

    Raises ValueError when two metrics share a name. Not slotted, because the look-ups are kept.
    """

    metrics: tuple[Metric, ...]

    def __post_init__(self) -> None:
        if len(self.by_name) != len(self.metrics):
            names = [metric.name for metric in self.metrics]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"metrics must have names of their own, got {', '.join(twice)} twice")

    @cached_property
    def by_name(self) -> Mapping[str, Metric]:
        """The metrics by the name that users know."""
        return {metric.name: metric for metric in self.metrics}

    @cached_property
    def by_key(self) -> Mapping[str, Metric]:
        """The metrics by `name@version`, which stored numbers are filed under."""
        return {metric.key: metric for metric in self.metrics}

    @cached_property
    def fields(self) -> frozenset[FieldPath]:
        """Every path that some metric looks at: what the decoder must keep of an event."""
        return frozenset[FieldPath]().union(*(metric.fields for metric in self.metrics))


EMPTY: Final = Catalog(())
