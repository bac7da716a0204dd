"""The process's own metrics: each says what it means, and processes share none."""

from analytics.metrics import STAGES, Metrics


def families(of: Metrics) -> dict[str, str]:
    return {family.name: family.documentation for family in of.registry.collect()}


def test_every_metric_is_ours_and_says_what_it_means() -> None:
    told = families(Metrics())
    assert len(told) >= 12
    assert all(name.startswith("analytics_") for name in told)
    assert all(told.values())


def test_times_are_in_seconds_and_sizes_in_bytes() -> None:
    assert {"analytics_flush_seconds", "analytics_query_seconds", "analytics_event_bytes"} <= set(
        families(Metrics())
    )


def test_two_processes_in_one_do_not_share_a_registry() -> None:
    one, other = Metrics(), Metrics()
    one.events.inc(3)
    assert b"analytics_events_total 3.0" in one.exposition()
    assert b"analytics_events_total 0.0" in other.exposition()


def test_stages_label_what_both_phases_do() -> None:
    made = Metrics()
    for stage in STAGES:
        made.flushed_rows.labels(stage).inc()
        made.misplaced.labels(stage).inc()
    text = made.exposition().decode()
    assert all(f'analytics_flushed_rows_total{{stage="{stage}"}} 1.0' in text for stage in STAGES)
