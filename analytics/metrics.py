"""Every Prometheus metric of the system, with kind, unit and meaning; updated by batch."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

STAGES = ("aggregate", "merge")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one process, in a registry of its own so that tests may have several."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        #: Valid events folded, whether or not a metric wanted them; without duplicates.
        self.events = Counter("analytics_events", "Events folded", registry=registry)
        #: Bytes of the records they came in.
        self.event_bytes = Counter(
            "analytics_event_bytes", "Bytes of event records read", registry=registry
        )
        #: Lines sent to the dead-letter topic.
        self.rejected = Counter(
            "analytics_rejected_lines", "Lines rejected", ["reason"], registry=registry
        )
        #: Events whose id was remembered (`dedup_ids`); they are in none of the others.
        self.duplicates = Counter(
            "analytics_duplicate_events", "Events dropped as duplicates", registry=registry
        )
        #: Events of windows that had closed; by metric, as one event may be late for some only.
        self.late = Counter(
            "analytics_late_events",
            "Events after their window closed",
            ["metric"],
            registry=registry,
        )
        #: Batches dropped because they did not follow on what is applied; reading is moved back.
        self.misplaced = Counter(
            "analytics_misplaced_batches", "Batches read again", ["stage"], registry=registry
        )
        #: Deliveries older than what their source had delivered already.
        self.stale = Counter(
            "analytics_stale_deliveries", "Deliveries outrun by newer ones", registry=registry
        )
        #: From taking the snapshot to the last acknowledgement.
        self.flush_seconds = Histogram(
            "analytics_flush_seconds",
            "Time of a flush",
            ["stage"],
            registry=registry,
            buckets=_SECONDS,
        )
        #: Rows written by flushes.
        self.flushed_rows = Counter(
            "analytics_flushed_rows", "Series rows flushed", ["stage"], registry=registry
        )
        #: Partitions this worker owns.
        self.partitions = Gauge(
            "analytics_owned_partitions", "Partitions owned", ["stage"], registry=registry
        )
        #: Offset up to which a partition's state is durable.
        self.applied = Gauge(
            "analytics_applied_offset", "Offset applied", ["stage", "partition"], registry=registry
        )
        #: Event time to visible in a query, by the newest event of each delivery.
        self.freshness_seconds = Histogram(
            "analytics_freshness_seconds",
            "Event time to queryable, newest event of a delivery",
            registry=registry,
            buckets=_SECONDS,
        )
        #: Series that hold rows, over all panes kept.
        self.series = Gauge("analytics_series", "Live series", ["metric"], registry=registry)
        #: Time to answer, forwarding included.
        self.query_seconds = Histogram(
            "analytics_query_seconds",
            "Time to answer a query",
            ["status"],
            registry=registry,
            buckets=_SECONDS,
        )

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
