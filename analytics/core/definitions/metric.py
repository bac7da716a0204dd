"""Owns what a metric is, and its reading from a document; it must not read files or the clock."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from analytics.core.definitions import aggregation
from analytics.core.definitions.document import Notes, Section, nearest
from analytics.core.definitions.duration import DURATION_MS_MAX, format_duration
from analytics.core.definitions.paths import (
    OBJECT_ROOTS,
    TIMESTAMP,
    FieldPath,
    parse_path,
)
from analytics.core.definitions.readers import duration, integer, list_of, mapping, pattern, text
from analytics.core.definitions.where import Expr, canonical, fields, parse

METRICS_MAX: Final = 1_000
DIMENSIONS_MAX: Final = 16
AGGREGATIONS_MAX: Final = 64
SERIES_MAX: Final = 10_000_000
TOPK_MAX: Final = 100
SIZE_MS_MIN: Final = 100

SERIES_DEFAULT: Final = 100_000
TOPK_DEFAULT: Final = 10
GRACE_MS_DEFAULT: Final = 30_000
RETENTION_MS_DEFAULT: Final = 86_400_000

STORED_FORMAT: Final = 1
"""Raised when the meaning of stored numbers changes, so that old and new ones never mix."""

_COUNTED: Final = ("distinct", "topk")
"""Aggregations named like the key that says which field they count."""

_NAME: Final = pattern(
    r"[a-z][a-z0-9_]{0,63}",
    "must have a name of at most 64 lower-case letters, digits and '_', a letter first",
)
_DIMENSION_NAME: Final = pattern(
    r"[A-Za-z_][A-Za-z0-9_.-]{0,127}",
    "must have a name of at most 128 letters, digits, '_', '.' and '-', a letter or '_' first",
)
_SPAN: Final = duration(SIZE_MS_MIN, DURATION_MS_MAX)
_GRACE: Final = duration(0, DURATION_MS_MAX)


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open windows `[n * advance_ms, n * advance_ms + size_ms)`, aligned to the epoch.

    `grace_ms` is how long past its end, in event time, a window still takes events.
    """

    size_ms: int
    advance_ms: int
    grace_ms: int

    @property
    def pane_ms(self) -> int:
        """The length of the slices that windows are merged from: an event touches exactly one."""
        return math.gcd(self.size_ms, self.advance_ms)


@dataclass(frozen=True, slots=True)
class Dimension:
    """A field whose value splits a metric, and the name that queries know it by."""

    name: str
    path: FieldPath


@dataclass(frozen=True)
class Metric:
    """One definition, valid by construction through `parse_metrics`.

    Not slotted, because what follows from a definition is computed once and kept on it.
    """

    name: str
    where: Expr | None
    where_text: str
    value: FieldPath | None
    dimensions: tuple[Dimension, ...]
    aggregations: tuple[str, ...]
    distinct: FieldPath | None
    topk: FieldPath | None
    topk_size: int
    window: Window
    retention_ms: int
    max_series: int

    @cached_property
    def dimension_paths(self) -> tuple[FieldPath, ...]:
        """The fields that split the metric."""
        return tuple(dimension.path for dimension in self.dimensions)

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """The scalar columns that must be stored, in the order of `MEASURES_ORDER`."""
        asked = {"count"}
        for name in self.aggregations:
            asked.update((aggregation.needs(name) or aggregation.Needs()).measures)
        return tuple(name for name in aggregation.MEASURES_ORDER if name in asked)

    @cached_property
    def has_bins(self) -> bool:
        """Whether quantile bins are stored: some percentile is asked for."""
        return any(aggregation.quantile_of(name) is not None for name in self.aggregations)

    @property
    def has_registers(self) -> bool:
        """Whether the registers that estimate distinct values are stored."""
        return self.distinct is not None

    @property
    def has_topk(self) -> bool:
        """Whether counters of the most frequent values are stored."""
        return self.topk is not None

    @cached_property
    def version(self) -> str:
        """8 hex digits that differ whenever the stored numbers would mean something else.

        Retention, the limit of series, grace and k only say how long, how many and how much is
        shown; they leave the version alone, so changing them keeps the data.
        """
        stored = {
            "format": STORED_FORMAT,
            "where": None if self.where is None else canonical(self.where),
            "value": self.value,
            "dimensions": [(dimension.name, dimension.path) for dimension in self.dimensions],
            "distinct": self.distinct,
            "topk": self.topk,
            "window": (self.window.size_ms, self.window.advance_ms),
            "measures": self.measures,
            "bins": self.has_bins,
        }
        text = json.dumps(stored, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @cached_property
    def key(self) -> str:
        """`name@version`: what stored numbers are filed under."""
        return f"{self.name}@{self.version}"

    @cached_property
    def fields(self) -> frozenset[FieldPath]:
        """Every path that must be decoded from an event to fold it into this metric."""
        single = (self.value, self.distinct, self.topk)
        return frozenset(
            (
                *(path for path in single if path is not None),
                *(dimension.path for dimension in self.dimensions),
                *(() if self.where is None else fields(self.where)),
            )
        )


def parse_metrics(document: object, file: str) -> tuple[Metric, ...]:
    """Read the document `{metrics: {name: definition}}`, in the order of the file.

    `file` is named in messages. Raises ConfigError with every mistake of the document.
    """
    notes = Notes(file)
    root = Section(notes, "", notes.read("", {} if document is None else document, mapping, {}))
    declared = root.optional("metrics", mapping, {})
    root.close()
    if len(declared) > METRICS_MAX:
        notes.add("metrics", f"must hold at most {METRICS_MAX} metrics", len(declared))
    metrics = [_metric(notes, name, content) for name, content in declared.items()]
    notes.raise_any()
    return tuple(metric for metric in metrics if metric is not None)


def _metric(notes: Notes, name: object, content: object) -> Metric | None:
    """One definition; None where anything in it is wrong, all of which is noted."""
    path = f"metrics.{name}"
    already = len(notes.mistakes)
    notes.read(path, name, _NAME, None)
    content = notes.read(path, content, mapping, None)
    if content is None:
        return None
    section = Section(notes, path, content)
    where_text, where = section.optional("where", _where, ("", None))
    value = section.optional("value", _value, None)
    dimensions = tuple(_dimensions(section))
    distinct = section.optional("distinct", _grouping_path, None)
    topk, topk_size = _topk(section)
    aggregations = _aggregations(section)
    window = _window(section)
    retention_ms = _retention(section, window)
    max_series = section.optional("max_series", integer(1, SERIES_MAX), SERIES_DEFAULT)
    section.close()
    if window is None or len(notes.mistakes) > already:
        return None
    return Metric(
        name=str(name),
        where=where,
        where_text=where_text,
        value=value,
        dimensions=dimensions,
        aggregations=aggregations,
        distinct=distinct,
        topk=topk,
        topk_size=topk_size,
        window=window,
        retention_ms=retention_ms,
        max_series=max_series,
    )


def _where(value: object) -> tuple[str, Expr]:
    condition = text(value)
    return condition, parse(condition)


def _path(value: object) -> FieldPath:
    return parse_path(text(value))


def _value(value: object) -> FieldPath:
    path = _path(value)
    if path[0] not in OBJECT_ROOTS:
        raise ValueError("must be a field that can hold a number: data.* or metadata.*")
    return path


def _grouping_path(value: object) -> FieldPath:
    path = _path(value)
    if path == TIMESTAMP:
        raise ValueError("must not be the timestamp, which windows group by already")
    return path


def _dimensions(section: Section) -> Iterator[Dimension]:
    """The dimensions that are right; what is wrong with the others is noted one by one."""
    declared = section.optional("dimensions", list_of(DIMENSIONS_MAX), [])
    names: set[str] = set()
    for number, item in enumerate(declared):
        place = f"{section.at('dimensions')}[{number}]"
        dimension = section.notes.read(place, item, _dimension, None)
        if dimension is None:
            continue
        if dimension.name in names:
            section.notes.add(place, "must have a name of its own", dimension.name)
        names.add(dimension.name)
        yield dimension


def _dimension(value: object) -> Dimension:
    """A path, named by itself, or `{name: path}`."""
    if isinstance(value, str):
        return Dimension(value, _grouping_path(value))
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError("must be a field path or one name with its path: {country: data.country}")
    ((name, path),) = value.items()
    if name == "timestamp":
        raise ValueError("must not be named timestamp, which answers use for their buckets")
    return Dimension(_DIMENSION_NAME(name), _grouping_path(path))


def _topk(section: Section) -> tuple[FieldPath | None, int]:
    """`topk: path`, or `topk: {field: path, k: 10}`."""
    declared = section.raw("topk")
    if not isinstance(declared, Mapping):
        return section.optional("topk", _grouping_path, None), TOPK_DEFAULT
    inner = Section(section.notes, section.at("topk"), declared)
    path = inner.required("field", _grouping_path)
    size = inner.optional("k", integer(1, TOPK_MAX), TOPK_DEFAULT)
    inner.close()
    return path, size


def _aggregations(section: Section) -> tuple[str, ...]:
    """The names as declared (`count` by default), then those that a field of theirs implies."""
    declared = section.optional("aggregations", list_of(AGGREGATIONS_MAX), ["count"])
    # A field that is there but wrong has its own mistake; it is not reported as missing as well.
    given = {key for key in ("value", *_COUNTED) if section.raw(key) is not None}
    names: list[str] = []
    for number, item in enumerate(declared):
        place = f"{section.at('aggregations')}[{number}]"
        name = section.notes.read(place, item, partial(_aggregation, given=given), None)
        if name in names:
            section.notes.add(place, "must be named only once", name)
        elif name is not None:
            names.append(name)
    names.extend(name for name in _COUNTED if name in given and name not in names)
    return tuple(names)


def _aggregation(item: object, given: set[str]) -> str:
    name = text(item)
    needs = aggregation.needs(name)
    if needs is None:
        raise ValueError(f"must be an aggregation{nearest(name, aggregation.NAMES)}")
    if needs.value and "value" not in given:
        raise ValueError("needs `value`, the field whose numbers are aggregated")
    if name in _COUNTED and name not in given:
        raise ValueError(f"needs `{name}`, the field whose values are counted")
    return name


def _window(section: Section) -> Window | None:
    """The window; None where it is absent or wrong, which is noted."""
    content = section.required("window", mapping)
    if content is None:
        return None
    inner = Section(section.notes, section.at("window"), content)
    size_ms = inner.required("size", _SPAN)
    advance_ms = inner.optional("advance", _SPAN, size_ms)
    grace_ms = inner.optional("grace", _GRACE, GRACE_MS_DEFAULT)
    inner.close()
    if size_ms is None or advance_ms is None:
        return None
    if size_ms % advance_ms:
        rule = f"must divide the size ({format_duration(size_ms)}) without remainder"
        inner.notes.add(inner.at("advance"), rule, inner.raw("advance"))
        return None
    return Window(size_ms, advance_ms, grace_ms)


def _retention(section: Section, window: Window | None) -> int:
    """How long windows stay queryable: 24 h by default, never less than a window can stay open."""
    open_ms = 0 if window is None else window.size_ms + window.grace_ms
    retention_ms = section.optional("retention", _SPAN, max(RETENTION_MS_DEFAULT, open_ms))
    if retention_ms < open_ms:
        rule = f"must be at least size and grace together ({format_duration(open_ms)})"
        section.notes.add(section.at("retention"), rule, section.raw("retention"))
    return retention_ms
