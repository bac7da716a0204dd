"""Owns the reading of the configuration directory as a whole; it must not keep what it reads.

`analytics.toml` holds the settings, `metrics.yaml` the metrics; a file that is absent means its
defaults. YAML is read by a loader that builds plain values only, and refuses what hides mistakes
(a key given twice) or multiplies what a small file holds (aliases).
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import yaml
from yaml.error import Mark

from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.document import Notes
from analytics.core.definitions.metric import Metric, parse_metrics
from analytics.errors import NOTHING, ConfigError, Mistake
from analytics.settings import Settings, config_directory, load, read_text

METRICS_NAME: Final = "metrics.yaml"
YAML_DEPTH_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that the configuration says: the settings, and the metrics declared in files."""

    settings: Settings
    catalog: Catalog


def load_configuration(
    config_dir: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Configuration:
    """Read every file and source. Raises ConfigError with every mistake of all of them."""
    mistakes: list[Mistake] = []
    settings = Settings()
    metrics: tuple[Metric, ...] = ()
    try:
        settings = load(config_dir, environ, overrides)
    except ConfigError as error:
        mistakes += error.mistakes
    try:
        metrics = read_metrics(config_directory(config_dir, environ) / METRICS_NAME)
    except ConfigError as error:
        mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return Configuration(settings, Catalog(metrics))


def read_metrics(file: Path) -> tuple[Metric, ...]:
    """The metrics of a YAML file; none where there is no file. Raises ConfigError."""
    notes = Notes(str(file))
    document = read_yaml(file, notes)
    notes.raise_any()
    return parse_metrics(document, str(file))


def read_yaml(file: Path, notes: Notes) -> object:
    """The document of a YAML file of at most 1 MiB as plain values.

    None where there is no file or nothing in it, and where it cannot be read, which is noted.
    """
    content = read_text(file, notes) or ""
    try:
        # The loader derives from the safe one, so it builds nothing but plain values.
        return yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        given = "".join(content.splitlines()[line : line + 1]).strip()
        notes.add(f"line {line + 1}", f"must be YAML ({error.problem})", given or NOTHING)
    except (yaml.YAMLError, ValueError) as error:  # a character, a date or a number that is none
        notes.add("", f"must be YAML ({str(error).splitlines()[0]})", NOTHING)
    return None


def _refusal(problem: str, mark: object) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=cast(Mark, mark))


class _Loader(yaml.SafeLoader):
    """The safe loader, refusing aliases, keys given twice and bottomless nesting."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # left out of the stubs
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("found an alias: write the value out", event.start_mark)
        if self._depth == YAML_DEPTH_MAX:
            raise _refusal(f"found more than {YAML_DEPTH_MAX} levels of nesting", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        seen: set[str] = set()
        for key in keys:
            if key.value in seen:
                raise _refusal(f"found the key {key.value!r} twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
