"""Errors as RFC 9457 problem documents; the one place where an error becomes an HTTP status."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
from aiohttp.web import Response

from analytics.errors import AnalyticsError, QueryError, QueryMistake

CONTENT_TYPE = "application/problem+json"


class Unavailable(AnalyticsError):
    """The answer exists but cannot be had right now; trying again soon will do."""


def problem(status: int, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> Response:
    """A problem document; ``errors`` are `{pointer, message}` of the parts that are wrong."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": list(errors),
    }
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Response(
        body=orjson.dumps(document), status=status, content_type=CONTENT_TYPE, headers=headers
    )


def problem_of(error: AnalyticsError) -> Response:
    """The problem document of an error that a request ran into."""
    if isinstance(error, QueryError):
        mistakes = [{"pointer": one.pointer, "message": one.message} for one in error.errors]
        return problem(error.status, str(error), mistakes)
    if isinstance(error, Unavailable):
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


def error_of(body: bytes) -> AnalyticsError:
    """The error that `problem_of` made this document of, on another worker."""
    try:
        document = orjson.loads(body)
        mistakes = [QueryMistake(one["pointer"], one["message"]) for one in document["errors"]]
        return QueryError(mistakes, status=int(document["status"]))
    except (ValueError, LookupError, TypeError):
        return Unavailable("another worker answered with a problem that is none of ours")
