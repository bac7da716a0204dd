"""Owns the oracle: load whose every event is known, and what answers must be under any fault."""

from tests.services.oracle.events import EventStream
from tests.services.oracle.mishaps import Mix, Shift
from tests.services.oracle.proving import Run, Unproven, proven
from tests.services.oracle.views import FAULT_METRICS, FAULT_SETTINGS

__all__ = [
    "FAULT_METRICS",
    "FAULT_SETTINGS",
    "EventStream",
    "Mix",
    "Run",
    "Shift",
    "Unproven",
    "proven",
]
