"""Owns the plan on paper: what a load takes of machines and money; it measures nothing.

A number comes from one of three places: from a load that somebody describes (`Load`), from
benchmarks and estimates (`Costs`), or from assumptions about hardware and prices (`Assumptions`),
the first that anybody has better numbers for. Everything else follows (`lines`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MB, GB = 10**6, 10**9
SECONDS_A_MONTH = 30 * 86_400
FLUSH_SECONDS = 0.25
FRAMED = 100
#: What a changed row is written to: the changelog of panes, `partials`, the changelog of the merge.
WRITTEN_TIMES = 3


class Range(NamedTuple):
    """What a number may be. The ends are so far away that no plan comes to infinity."""

    least: float = 1e-9
    most: float = 1e15


_POSITIVE = Range()


def _number(default: float, told: str, allowed: Range = _POSITIVE) -> Any:
    return field(default=default, metadata={"help": told, "allowed": allowed})


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be handled. Series are those of one metric at a time."""

    rate: float = _number(1_000_000.0, "events per second at the peak")
    event_bytes: float = _number(1_000.0, "bytes of an event")
    partitions: int = _number(64, "partitions of the events topic", Range(1))
    framing: int = _number(100, "events in a Kafka record", Range(1, FRAMED))
    metrics: int = _number(10, "metrics over the same events", Range(1))
    series: int = _number(1_000, "series of a metric", Range(1))
    spread: float = _number(
        1.0, "share of the partitions that a series has events in", Range(most=1)
    )
    window_s: float = _number(10.0, "seconds of a window")
    retention_s: float = _number(900.0, "seconds that live queries look back")
    compression: float = _number(1.0, "how many times smaller producers make events", Range(1))
    log_hours: float = _number(24.0, "hours that Kafka keeps events")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What an event and a series cost.

    CPU of events is what docs/benchmarks.md says, in its sections on events and on many metrics.
    The rest are estimates: no result of those benchmarks is kept yet.
    """

    cpu_framed_us: float = _number(6.4, "CPU of an event, 100 a record, one metric")
    cpu_single_us: float = _number(9.3, "CPU of an event, one a record, one metric")
    cpu_metric_us: float = _number(1.1, "CPU of an event for each further metric")
    cpu_row_us: float = _number(5.0, "CPU of a changed series, each flush")
    worker_mb: float = _number(200.0, "memory of a worker without series")
    series_bytes: float = _number(700.0, "memory of a series and its first window")
    row_bytes: float = _number(100.0, "memory of a series in each further window")
    written_bytes: float = _number(60.0, "bytes written of a changed series")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """Hardware and prices in USD; nothing here was measured."""

    utilisation: float = _number(0.6, "share of a CPU that is planned with", Range(most=1))
    standby: float = _number(0.1, "CPU of standbys, as a share of the rest")
    replication: int = _number(3, "copies that Kafka keeps", Range(1))
    broker_mb_s: float = _number(250.0, "MB/s that a broker takes in, copies included")
    broker_cpus: int = _number(8, "CPUs of a broker", Range(1))
    cpu_gb: float = _number(4.0, "GB of memory that come with a CPU")
    cpu_usd: float = _number(35.0, "USD of a CPU with its memory, a month")
    disk_usd: float = _number(0.08, "USD of a GB of disk, a month")
    zones: int = _number(1, "availability zones", Range(1))
    traffic_usd: float = _number(0.02, "USD of a GB from zone to zone")


class Line(NamedTuple):
    """A figure of a plan, and what it follows from."""

    name: str
    amount: float
    unit: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load takes."""

    load: Load = Load()
    costs: Costs = Costs()
    assumptions: Assumptions = Assumptions()

    @property
    def cpu_us(self) -> float:
        """CPU of an event in µs, from a part of each event and one of each record."""
        costs, load = self.costs, self.load
        record_us = (costs.cpu_single_us - costs.cpu_framed_us) * FRAMED / (FRAMED - 1)
        event_us = costs.cpu_single_us - record_us
        return event_us + record_us / load.framing + (load.metrics - 1) * costs.cpu_metric_us

    @property
    def cpus(self) -> float:
        """CPUs of workers that are busy at the peak."""
        us = self.load.rate * self.cpu_us + self.rows_a_second * self.costs.cpu_row_us
        return us / 1e6 * (1 + self.assumptions.standby)

    @property
    def workers(self) -> int:
        """Worker processes, each planned with its share of one CPU."""
        return math.ceil(self.cpus / self.assumptions.utilisation)

    def rows(self, seconds: float) -> float:
        """Series of all partitions and metrics that get an event within so many seconds.

        Events without keys spread, so each partition has all series that it has events for.
        """
        load = self.load
        events = load.rate * seconds / load.partitions
        return load.partitions * load.metrics * min(load.series * load.spread, events)

    @property
    def rows_a_second(self) -> float:
        """Rows that flushes write, each once."""
        return self.rows(FLUSH_SECONDS) / FLUSH_SECONDS

    @property
    def memory_bytes(self) -> float:
        """Memory of a worker: its share of what is folded, and of what queries look back on."""
        load, costs = self.load, self.costs
        rows = self.rows(load.window_s) / self.workers
        further = max(0.0, load.retention_s / load.window_s - 1)
        return costs.worker_mb * MB + rows * (costs.series_bytes + further * costs.row_bytes)

    @property
    def machine_cpus(self) -> float:
        """CPUs to rent for the workers: as many as they need, or as their memory comes with."""
        memory_gb = self.memory_bytes * self.workers / GB
        return math.ceil(max(float(self.workers), memory_gb / self.assumptions.cpu_gb))

    @property
    def events_mb_s(self) -> float:
        """MB/s of events as producers send them."""
        return self.load.rate * self.load.event_bytes / self.load.compression / MB

    @property
    def written_mb_s(self) -> float:
        """MB/s of changed rows, on all topics that they are written to."""
        return self.rows_a_second * self.costs.written_bytes * WRITTEN_TIMES / MB

    @property
    def brokers(self) -> int:
        """Kafka brokers; never fewer than there are copies."""
        copied = (self.events_mb_s + self.written_mb_s) * self.assumptions.replication
        return max(self.assumptions.replication, math.ceil(copied / self.assumptions.broker_mb_s))

    @property
    def disk_gb(self) -> float:
        """Disk of the brokers for the events they keep."""
        kept_mb = self.events_mb_s * self.load.log_hours * 3600
        return kept_mb * self.assumptions.replication * MB / GB

    @property
    def crossing_mb_s(self) -> float:
        """MB/s between zones: from producers, between brokers, and to workers."""
        moved = self.events_mb_s + self.written_mb_s
        away = (self.assumptions.zones - 1) / self.assumptions.zones
        return moved * away * (self.assumptions.replication + 1)

    def lines(self) -> Iterator[Line]:
        """The figures in the order in which they follow from one another; the sum comes last."""
        load, costs, assumed = self.load, self.costs, self.assumptions
        yield Line("CPU of an event", self.cpu_us, "µs", f"{load.metrics} metrics")
        why = f"{load.series:,} series in {load.spread:.0%} of {load.partitions} partitions"
        yield Line("changed series", self.rows_a_second, "rows/s", why)
        why = f"{load.rate:,.0f} events/s, {assumed.standby:.0%} more for standbys"
        yield Line("busy CPUs of workers", self.cpus, "CPUs", why)
        why = f"{assumed.utilisation:.0%} of a CPU each"
        yield Line("workers", self.workers, "processes", why)
        why = f"{load.retention_s:,.0f} s of {load.window_s:g} s windows, all metrics"
        yield Line("memory of a worker", self.memory_bytes / GB, "GB", why)
        why = f"{load.event_bytes:,.0f} bytes, {load.compression:g}x compressed"
        yield Line("events to Kafka", self.events_mb_s, "MB/s", why)
        why = f"{costs.written_bytes:g} bytes a row, {WRITTEN_TIMES} topics"
        yield Line("rows to Kafka", self.written_mb_s, "MB/s", why)
        why = f"{assumed.replication} copies, {assumed.broker_mb_s:g} MB/s a broker"
        yield Line("brokers", self.brokers, "", why)
        why = f"{load.log_hours:g} h of events, {assumed.replication} copies"
        yield Line("disk of brokers", self.disk_gb, "GB", why)
        yield from self.bill()

    def bill(self) -> Iterator[Line]:
        """What it costs a month, and the sum."""
        assumed = self.assumptions
        broker_cpus = self.brokers * assumed.broker_cpus
        crossing_gb = self.crossing_mb_s * SECONDS_A_MONTH * MB / GB
        bill = [
            ("workers", self.machine_cpus * assumed.cpu_usd, f"{self.machine_cpus:,.0f} CPUs"),
            ("brokers", broker_cpus * assumed.cpu_usd, f"{broker_cpus:,} CPUs"),
            ("disk", self.disk_gb * assumed.disk_usd, f"{self.disk_gb:,.0f} GB"),
            ("traffic", crossing_gb * assumed.traffic_usd, f"{crossing_gb:,.0f} GB between zones"),
        ]
        for name, usd, why in bill:
            yield Line(f"cost of {name}", usd, "USD a month", why)
        yield Line("cost together", sum(usd for _, usd, _ in bill), "USD a month", "")
