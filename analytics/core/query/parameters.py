"""Owns how the parameters of GET /v1/metrics/{name} become the document of POST /v1/query."""

from collections.abc import Iterable

from analytics.core.query.mistakes import Mistakes

PARAMETERS = ("from", "to", "last", "step", "groupBy", "function", "filter")
LAST_DEFAULT = "15m"

_REPEATABLE = ("filter",)


def to_document(name: str, parameters: Iterable[tuple[str, str]]) -> dict[str, object]:
    """The document that asks the same of the metric `name`, for `request.parse` to read.

    `groupBy` and `function` are lists with commas; `filter` is `dimension=value` and may be
    repeated: values of one dimension are alternatives, different dimensions must all hold. Without
    a range the answer covers the last 15 minutes. Raises QueryError on names that are not
    parameters, on repeated ones and on a filter without `=`; values are left for `request.parse`.
    """
    mistakes = Mistakes()
    single: dict[str, str] = {}
    filters: dict[str, list[str]] = {}
    for key, value in parameters:
        if key not in PARAMETERS:
            mistakes.unknown_keys("", [key], PARAMETERS)
        elif key not in _REPEATABLE:
            if key in single:
                mistakes.add(f"/{key}", "is given twice")
            single[key] = value
        elif "=" not in value:
            mistakes.add("/filter", f"must be dimension=value, got {value!r}")
        else:
            field, _, text = value.partition("=")
            filters.setdefault(field, []).append(text)
    mistakes.raise_any()
    document: dict[str, object] = {"metrics": [name], "timeRange": _range(single)}
    if filters:
        document["filters"] = [
            {"field": field, "op": "in", "value": texts} for field, texts in filters.items()
        ]
    for key, into in (("function", "aggregations"), ("groupBy", "groupBy")):
        if single.get(key):
            document[into] = [each.strip() for each in single[key].split(",")]
    if "step" in single:
        document["step"] = single["step"]
    return document


def _range(single: dict[str, str]) -> dict[str, object]:
    """The range parameters; that `last` excludes the others is left for `request.parse` to say."""
    given: dict[str, object] = {
        key: _time(single[key]) for key in ("from", "to", "last") if key in single
    }
    return given or {"last": LAST_DEFAULT}


def _time(text: str) -> object:
    """Digits are epoch milliseconds; everything else stands as it is."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text
