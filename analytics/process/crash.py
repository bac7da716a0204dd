"""Named places at which a process ends itself, to test what a crash just there leaves behind.

Only the environment arms one, when a worker starts: `ANALYTICS_CRASH_AT` is `POINT`,
`POINT:VISIT` (the nth time that it is reached) or `POINT:VISIT:hang`. A point that is not armed
costs one comparison, and none of them stands on the path of a single event.
"""

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from analytics.errors import NOTHING, ConfigError, Mistake

log = structlog.get_logger(__name__)

VARIABLE: Final = "ANALYTICS_CRASH_AT"

_PHASE: Final = {
    "flushing": "a flush has begun, nothing is written",
    "acknowledged": "the flush is durable and the consumer knows, nothing is committed",
    "committed": "the group has accepted the commit",
    "revoking": "partitions are about to go, nothing is flushed",
    "revoked": "everything is flushed for it, nothing is committed",
    "claiming": "the state is restored, the marker of the new epoch is not written",
    "claimed": "the marker of the new epoch is written",
}
_TABLE: Final = {
    "logging": "entries are ready, the changelog has none of them",
    "logged": "the changelog has the entries, the store does not",
    "stored": "the store has them too",
    "recovering": "the changelog is read, the marker is not",
    "recovered": "the marker is read",
}
POINTS: Final[Mapping[str, str]] = {
    "aggregate.decoded": "records are decoded, nothing of them is folded",
    "aggregate.folded": "records are folded, nothing of them is flushed",
    "aggregate.lettered": "the dead letters of a flush are written, nothing else",
    "aggregate.published": "the rows of a flush are published, nothing is acknowledged",
    "aggregate.republished": "the new owner has published its open panes",
    "merge.taken": "deliveries are taken in, nothing of them is flushed",
    **{f"{one}.{name}": told for one in ("aggregate", "merge") for name, told in _PHASE.items()},
    **{f"{one}.{name}": told for one in ("panes", "merged") for name, told in _TABLE.items()},
}
"""Every point, and what is true there."""


@dataclass(slots=True)
class Plan:
    """Where to end, and how: by SIGKILL, or by standing still for ever."""

    point: str
    visits_left: int
    hang: bool


_plan: Plan | None = None


def arm(text: str | None) -> None:
    """Follow what `ANALYTICS_CRASH_AT` says; ConfigError when that is no such thing."""
    global _plan
    _plan = parse(text) if text else None


def parse(text: str) -> Plan:
    """The plan that ``text`` describes; ConfigError when it is none."""
    point, visit, action = (*text.split(":"), "", "")[:3]
    known = point in POINTS and (visit or "1").isdecimal() and action in {"", "hang"}
    if not known or text.count(":") > 2:
        rule = "must be POINT, POINT:VISIT or POINT:VISIT:hang of a point in docs/reliability.md"
        raise ConfigError([Mistake("environment", VARIABLE, rule, text or NOTHING)])
    return Plan(point, max(1, int(visit or 1)), action == "hang")


def at(point: str) -> None:
    """Pass ``point``: nothing happens, unless it is the one that was armed."""
    if _plan is not None and _plan.point == point:
        _reached(_plan)


def _reached(plan: Plan) -> None:
    plan.visits_left -= 1
    if plan.visits_left:
        return
    log.warning("crash point reached", point=plan.point, hang=plan.hang)
    if plan.hang:
        threading.Event().wait()
    os.kill(os.getpid(), signal.SIGKILL)
