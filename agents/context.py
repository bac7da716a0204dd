"""What the agents of one worker share; built once by the application."""

from dataclasses import dataclass, field
from typing import Any

from analytics.core.definitions.catalog import Catalog
from analytics.metrics import Metrics
from analytics.process.pulse import Pulse
from analytics.settings import Settings
from analytics.topics import Topics
from analytics.transport.producer import DurableProducer


@dataclass(frozen=True, slots=True)
class Context:
    """``app`` is the Faust application; the rest says itself."""

    app: Any
    settings: Settings
    catalog: Catalog
    topics: Topics
    producer: DurableProducer
    metrics: Metrics
    pulse: Pulse = field(default_factory=Pulse)
