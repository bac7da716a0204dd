"""Owns the account of why a line is no event; it must not decide whether it is one.

The decoder stops at the first thing it dislikes and says little about it. For the few lines that
it refuses there is time to look again, member by member, and to name field, rule and value.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from analytics.core.definitions.paths import OBJECT_ROOTS, SCALAR_ROOTS
from analytics.core.events.reasons import Reason, Refusal, refuse
from analytics.core.events.screening import too_deep
from analytics.core.events.shape import LABEL_CHARS_MAX

_WHOLE: Final = msgspec.json.Decoder(msgspec.Raw)
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRING: Final = msgspec.json.Decoder(str)
_TIMESTAMP_FORM: Final = "RFC 3339 with an offset, or an integer of epoch milliseconds"
# The tail of the decoder's messages about a number that no float or no integer can hold.
_OUT_OF_RANGE: Final = re.compile(r"out of range - at `\$\.(.*)`$")


def diagnose(line: bytes, error: Exception) -> Refusal:
    """Say why the decoder refused a line of UTF-8 with `error`. Never raises.

    Faults are looked for in a fixed order, and the first one found is told.
    """
    try:
        _WHOLE.decode(line)
        return _members(_MEMBERS.decode(line), error)
    except RecursionError:
        return too_deep()
    except msgspec.ValidationError:
        return refuse(Reason.NOT_AN_OBJECT, "an event must be a JSON object", line.decode())
    except msgspec.DecodeError as malformed:
        return refuse(Reason.INVALID_JSON, f"a line must be one JSON object: {malformed}")


def bad_timestamp(value: str | int) -> Refusal:
    """The refusal of a string that is no time, or of a time before 1970."""
    rule = f"timestamp: must be {_TIMESTAMP_FORM}, not before 1970"
    return refuse(Reason.BAD_TIMESTAMP, rule, repr(value))


def future_timestamp(value: str | int, future_ms_max: int) -> Refusal:
    """The refusal of a time too far ahead of the clock."""
    rule = f"timestamp: must be at most {future_ms_max:,} ms ahead of the clock"
    return refuse(Reason.FUTURE_TIMESTAMP, rule, repr(value))


def _members(members: dict[str, msgspec.Raw], error: Exception) -> Refusal:
    values = {name: bytes(value).decode() for name, value in members.items()}
    for name in SCALAR_ROOTS:
        if name not in values:
            return refuse(Reason.MISSING_FIELD, f"{name}: must be there")
        check = _timestamp if name == "timestamp" else _label
        if (refusal := check(name, values[name])) is not None:
            return refusal
    for name in OBJECT_ROOTS:
        if name in values and not values[name].startswith("{"):
            return refuse(Reason.WRONG_TYPE, f"{name}: must be an object", values[name])
    if (number := _OUT_OF_RANGE.search(str(error))) is not None:
        rule = f"{number[1]}: must be a number of the range of float64"
        return refuse(Reason.NUMBER_OUT_OF_RANGE, rule, _found(values, number[1]))
    # A member given twice: its last value is fine, but the decoder disliked an earlier one.
    return refuse(Reason.WRONG_TYPE, str(error))


def _found(values: dict[str, str], path: str) -> str | None:
    """The JSON at a path that the decoder named; None where that leads into an array."""
    root, *names = path.split(".")
    value = values[root]
    for name in names:
        members = _MEMBERS.decode(value)
        if name not in members:
            return None
        value = bytes(members[name]).decode()
    return value


def _label(name: str, value: str) -> Refusal | None:
    if not value.startswith('"'):
        return refuse(Reason.WRONG_TYPE, f"{name}: must be a string", value)
    chars = len(_STRING.decode(value))
    if chars == 0:
        reason = Reason.EMPTY_TYPE if name == "type" else Reason.EMPTY_FIELD
        return refuse(reason, f"{name}: must not be empty", value)
    if chars > LABEL_CHARS_MAX:
        rule = f"{name}: must have at most {LABEL_CHARS_MAX} characters, not {chars:,}"
        return refuse(Reason.TOO_LONG, rule, value)
    return None


def _timestamp(name: str, value: str) -> Refusal | None:
    """A string or an integer passes here: whether it is a time is asked of built events only."""
    if value.startswith('"') or value.removeprefix("-").isdigit():
        return None
    reason = Reason.BAD_TIMESTAMP if value[0] in "-0123456789" else Reason.WRONG_TYPE
    return refuse(reason, f"{name}: must be {_TIMESTAMP_FORM}", value)
