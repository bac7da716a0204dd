"""Panes against a naive loop: folds, snapshots and merges must not depend on how events are cut."""

from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analytics.core.aggregates import sparse
from analytics.core.aggregates.combine import Combined, merge
from analytics.core.aggregates.keys import Key
from analytics.core.aggregates.pane import OTHER, Pane, decode, encode, split
from analytics.core.aggregates.sparse import SparseCounts
from tests.unit.aggregates.panes import Event, State, fold, folded, naive, spec, state

KEYS = [(letter,) for letter in "abcdef"] + [(OTHER,)]
NUMBERS = st.none() | st.floats() | st.integers(-3, 3).map(float)
WHOLE = st.none() | st.integers(-1000, 1000).map(float)  # sums of these are exact in any order


def events(values: st.SearchStrategy[float | None] = NUMBERS) -> st.SearchStrategy[list[Event]]:
    """Few keys, times and texts, so that everything collides."""
    return st.lists(
        st.builds(
            Event,
            key=st.sampled_from(KEYS),
            timestamp=st.integers(0, 5),
            value=values,
            text=st.sampled_from(["", "x", "y", "z", "ü"]),
        ),
        max_size=60,
    )


def cut(log: Sequence[Event], places: Sequence[int]) -> list[Sequence[Event]]:
    """The log in consecutive batches, some perhaps empty."""
    ends = sorted(place % (len(log) + 1) for place in places)
    return [log[first:last] for first, last in zip([0, *ends], [*ends, len(log)], strict=True)]


CUTS = st.lists(st.integers(0, 1000), max_size=6)
LIMITS = st.integers(1, 8)


@given(events(), CUTS, LIMITS)
def test_any_split_into_batches_folds_to_what_a_loop_over_the_events_gives(
    log: list[Event], places: list[int], max_series: int
) -> None:
    pane = Pane(spec(max_series=max_series), 0)
    for part in cut(log, places):
        fold(pane, part)
    expected, overflowed = naive(log, max_series)
    assert state(pane) == expected
    assert list(pane.keys) == list(expected)  # rows in the order in which series appear
    assert pane.overflowed == overflowed


@given(events(), CUTS, LIMITS, events())
def test_a_pane_restored_from_its_slices_is_the_pane_and_goes_on_like_it(
    log: list[Event], places: list[int], max_series: int, more: list[Event]
) -> None:
    pane = Pane(spec(max_series=max_series), 0)
    restored = Pane(spec(max_series=max_series), 0)
    for part in cut(log, places):
        fold(pane, part)
        changed = pane.take_dirty()
        assert (changed is None) == (not part)
        if changed is not None:
            for partials in decode(encode([changed])):
                restored.replace(partials)
    for both in (pane, restored):
        fold(both, more)
    assert state(restored) == state(pane)
    assert restored.keys == pane.keys
    assert restored.overflowed == pane.overflowed
    assert restored.partials() == pane.partials()


@given(events(), CUTS, st.integers(0, 2000))
def test_pieces_of_a_snapshot_put_together_are_the_snapshot(
    log: list[Event], places: list[int], bytes_max: int
) -> None:
    pane = folded(log)
    pieces = split(pane.partials(), bytes_max)
    assert all(len(encode([p])) <= bytes_max or len(p.keys) == 1 for p in pieces if p.keys)
    restored = Pane(spec(), 0, "metric@1")
    for place in sorted(range(len(pieces)), key=lambda i: (places or [0])[i % len(places or [0])]):
        restored.replace(pieces[place])
    assert state(restored) == state(pane)


@given(events(), events())
def test_a_snapshot_replaced_by_itself_or_by_a_later_one_leaves_the_later(
    log: list[Event], more: list[Event]
) -> None:
    source = folded(log)
    early = source.partials()
    fold(source, more)
    late = source.partials()
    read = Pane(spec(), 0)
    for partials in (early, early, late, late):
        read.replace(partials)
    assert state(read) == state(source)


def combined(panes: Sequence[Pane], keys: Sequence[Key] = KEYS) -> Combined:
    """The panes merged by key, group i being keys[i]."""
    group_of = {key: group for group, key in enumerate(keys)}
    return merge(
        [
            (pane, np.arange(pane.n), np.array([group_of[key] for key in pane.keys], np.intp))
            for pane in panes
        ],
        len(keys),
    )


def merged(panes: Sequence[Pane]) -> Pane:
    """The panes merged by key into one pane."""
    pane = Pane(panes[0].spec, 0)
    pane.replace(combined(panes).partials("metric@1", 0, KEYS))
    return pane


def present(held: State) -> State:
    """Without the groups that got no event."""
    return {key: row for key, row in held.items() if row.columns["count"]}


@given(st.lists(events(WHOLE), min_size=3, max_size=3), st.permutations(range(3)))
def test_merging_is_associative_and_commutative(logs: list[list[Event]], order: list[int]) -> None:
    a, b, c = (folded(log) for log in logs)
    at_once = state(merged([a, b, c]))
    assert state(merged([merged([a, b]), c])) == at_once
    assert state(merged([a, merged([b, c])])) == at_once
    assert state(merged([[a, b, c][i] for i in order])) == at_once


@given(events(WHOLE), st.lists(st.integers(0, 2), min_size=60, max_size=60))
def test_events_spread_over_partitions_merge_to_what_one_pane_of_all_holds(
    log: list[Event], partitions: list[int]
) -> None:
    parts: list[list[Event]] = [[], [], []]
    # Between partitions nothing says which of two events of one time came first: no ties here.
    log = [event._replace(timestamp=place) for place, event in enumerate(log)]
    for event, partition in zip(log, partitions, strict=False):
        parts[partition].append(event)
    assert present(state(merged([folded(part) for part in parts]))) == naive(log)[0]


@given(events(WHOLE))
def test_finished_numbers_are_those_of_the_plain_values(log: list[Event]) -> None:
    result = combined([folded(log)])
    for group, key in enumerate(KEYS):
        values = [event.value for event in log if event.key == key and event.value is not None]
        assert result.count[group] == sum(event.key == key for event in log)
        numbers = (result.sum, result.avg, result.min, result.max, result.stddev)
        found = [float(column[group]) for column in numbers]
        if values:
            expected = [np.sum(values), np.mean(values), min(values), max(values), np.std(values)]
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-4)
        else:
            assert np.isnan(found).all()


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["update", "count", "replace", "drop"]),
        st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3), st.integers(1, 9)), max_size=12),
    ),
    max_size=12,
)


@given(OPERATIONS, st.sampled_from([np.add, np.maximum]), st.permutations(range(6)))
def test_sparse_counts_are_a_dict_of_row_and_item(
    operations: list[tuple[str, list[tuple[int, int, int]]]], combine: np.ufunc, order: list[int]
) -> None:
    plain: dict[tuple[int, int], int] = {}
    with patch.object(sparse, "_RECENT_MIN", 3):  # so that runs merge often
        counts = SparseCounts(combine)
        for operation, entries in operations:
            apply(counts, operation, entries, combine)
            apply_plainly(plain, operation, entries, combine)
    lengths, items, values = counts.take(np.array(order))
    expected = [sorted((i, v) for (r, i), v in plain.items() if r == row) for row in order]
    assert lengths.tolist() == [len(entries) for entries in expected]
    assert list(zip(items.tolist(), values.tolist(), strict=True)) == sum(expected, [])
    assert len(counts) == len(plain)


def apply(
    counts: SparseCounts, operation: str, entries: list[tuple[int, int, int]], combine: np.ufunc
) -> None:
    rows, items, values = np.array(entries, np.int64).reshape(-1, 3).T.copy()
    if operation == "drop":
        counts.drop_rows(np.unique(rows))
    elif operation == "count" and combine is np.add:
        counts.count(rows, items)
    elif operation != "replace":
        counts.update(rows, items, values)
    else:
        source = SparseCounts(combine)
        source.update(rows, items, values)
        replaced = np.unique(rows)[::-1].copy()
        counts.replace(replaced, *source.take(replaced))


def apply_plainly(
    plain: dict[tuple[int, int], int],
    operation: str,
    entries: list[tuple[int, int, int]],
    combine: np.ufunc,
) -> None:
    if operation in ("drop", "replace"):
        for entry in [entry for entry in plain if entry[0] in {row for row, _, _ in entries}]:
            del plain[entry]
    if operation == "drop":
        return
    for row, item, value in entries:
        added = 1 if operation == "count" and combine is np.add else value
        plain[row, item] = int(combine(plain.get((row, item), 0), added))
