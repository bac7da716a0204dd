"""Which ids are remembered, one rule at a time; see test_dedup.py under property for crashes."""

import tracemalloc

import msgspec
import pytest

from analytics.core.aggregates.pane import Partials, split
from analytics.core.dedup import CHUNK_IDS, IDS, ROW_IDS, RememberedIds
from analytics.core.definitions.metric import parse_metrics
from analytics.errors import ConfigError
from tables.segments import SEGMENT_BYTES_MAX


def ids(begin: int, end: int) -> list[str]:
    return [f"id-{n}" for n in range(begin, end)]


def written(of: RememberedIds) -> list[Partials]:
    return [dirty for _, dirty in of.take_changes()]


def chunks(rows: list[Partials]) -> dict[int, int]:
    """Ids by number of their chunk."""
    return {one.start_ms: sum(map(len, one.keys)) for one in rows}


def test_an_id_is_a_repeat_in_the_same_batch_and_in_later_ones() -> None:
    made = RememberedIds(10)
    assert made.take_in(["a", "b", "a", "c", "a"]) == [2, 4]
    assert made.take_in(["d", "b", "d"]) == [1, 2]
    assert made.n == 4


def test_the_first_of_equal_ids_is_the_one_that_is_kept_across_the_end_of_a_chunk() -> None:
    made = RememberedIds(10)
    before = ids(0, CHUNK_IDS - 1)
    assert made.take_in([*before, "x", "x", *before[:1], "y"]) == [CHUNK_IDS, CHUNK_IDS + 1]
    assert chunks(written(made)) == {0: CHUNK_IDS, 1: 1}


def test_a_repeat_does_not_make_an_id_newer() -> None:
    made = RememberedIds(1)
    made.take_in(["x", *ids(1, CHUNK_IDS)])
    assert made.take_in(["x"]) == [0]
    made.take_in(ids(CHUNK_IDS, 2 * CHUNK_IDS))
    assert made.take_in(["x"]) == []


def test_chunks_go_once_the_full_ones_that_stay_hold_the_limit() -> None:
    """
    chunks          0 │ 1 │ 2 │        a limit of one chunk and an id
    remembered    [ 0   1 ]
                      [ 1   2 ]        as soon as 2 is full
    """
    made = RememberedIds(CHUNK_IDS + 1)
    made.take_in(ids(0, 3 * CHUNK_IDS - 1))
    assert (made.n, made.first) == (3 * CHUNK_IDS - 1, 0)
    made.take_in(ids(3 * CHUNK_IDS - 1, 3 * CHUNK_IDS))
    assert (made.n, made.first) == (2 * CHUNK_IDS, 1)
    assert made.take_forgotten() == [0]
    assert made.take_forgotten() == []


def test_a_flush_is_given_the_new_ids_alone_and_those_of_forgotten_chunks_not_at_all() -> None:
    made = RememberedIds(1)
    made.take_in(ids(0, 10))
    assert chunks(written(made)) == {0: 10}
    assert written(made) == []
    made.take_in(ids(5, 3 * CHUNK_IDS + 20))
    assert chunks(written(made)) == {2: CHUNK_IDS, 3: 20}


def test_what_is_restored_is_durable_already() -> None:
    made = RememberedIds(100)
    made.take_in(ids(0, 30))
    again = RememberedIds(100)
    again.restore(0, written(made))
    assert written(again) == []
    again.take_in(ids(25, 40))
    assert chunks(written(again)) == {0: 10}


def test_ids_that_were_written_twice_are_remembered_once() -> None:
    made = RememberedIds(100)
    made.take_in(ids(0, 3))
    [(chunk, dirty)] = made.take_changes()
    again = RememberedIds(100)
    again.restore(0, [dirty, chunk.partials(), dirty])
    assert again.n == 3
    assert again.take_in(ids(0, 3)) == [0, 1, 2]


def test_chunks_that_do_not_count_any_more_are_ignored_and_dropped_once_more() -> None:
    made = RememberedIds(1)
    made.take_in(ids(0, CHUNK_IDS))
    forgotten = written(made)
    made.take_in(ids(CHUNK_IDS, 2 * CHUNK_IDS + 1))
    again = RememberedIds(1)
    again.restore(made.first, [*forgotten, *written(made)])
    assert again.n == made.n == CHUNK_IDS + 1
    assert again.take_forgotten() == [0]


def test_a_smaller_limit_forgets_at_once_and_a_greater_one_from_then_on() -> None:
    made = RememberedIds(3 * CHUNK_IDS)
    made.take_in(ids(0, 3 * CHUNK_IDS))
    rows = written(made)
    smaller, greater = RememberedIds(CHUNK_IDS), RememberedIds(9 * CHUNK_IDS)
    smaller.restore(made.first, rows)
    assert (smaller.n, smaller.take_forgotten()) == (CHUNK_IDS, [0, 1])
    greater.restore(smaller.first, rows)
    assert greater.n == CHUNK_IDS
    greater.take_in(ids(3 * CHUNK_IDS, 11 * CHUNK_IDS))
    assert greater.n == 9 * CHUNK_IDS


def test_without_a_limit_all_is_forgotten_and_never_comes_back() -> None:
    made = RememberedIds(5)
    made.take_in(ids(0, CHUNK_IDS + 1))
    rows = written(made)
    off = RememberedIds(0)
    off.restore(made.first, rows)
    assert (off.n, off.take_forgotten()) == (0, [0, 1])
    on = RememberedIds(5)
    on.restore(off.first, rows)
    assert on.take_in(ids(0, 3)) == []
    assert chunks(written(on)) == {2: 3}


def test_chunks_of_another_size_can_be_restored() -> None:
    """A later version may count differently; what an earlier one wrote is whole chunks to it."""
    long = Partials(IDS, 0, [tuple(ids(0, CHUNK_IDS + 5))], {})
    short = Partials(IDS, 1, [tuple(ids(5_000, 5_010))], {})
    made = RememberedIds(3 * CHUNK_IDS)
    made.restore(0, [long, short, Partials(IDS, 2, [("x",)], {})])
    assert made.take_in(["id-0", "id-5009", "x", "y"]) == [0, 1, 2]
    assert chunks(written(made)) == {2: 1}


@pytest.mark.parametrize(
    "text", ["a", "x" * 128, "\U0001f600" * 128], ids=["short", "long", "wide"]
)
def test_segments_of_ids_keep_to_their_size(text: str) -> None:
    made = RememberedIds(CHUNK_IDS)
    made.take_in([text[:-4] + f"{n:04}" for n in range(CHUNK_IDS - 1)])
    [(chunk, dirty)] = made.take_changes()
    assert chunk.partials() == dirty
    assert all(0 < len(row) <= ROW_IDS for row in dirty.keys)
    pieces = split(dirty, SEGMENT_BYTES_MAX)
    assert all(len(msgspec.msgpack.encode(piece)) <= SEGMENT_BYTES_MAX for piece in pieces)
    assert [row for piece in pieces for row in piece.keys] == dirty.keys


def test_no_metric_can_be_called_what_ids_are_filed_under() -> None:
    name = IDS.split("@")[0]
    with pytest.raises(ConfigError, match="must have a name"):
        parse_metrics({"metrics": {name: {"window": {"size": "10s"}}}}, "metrics.yaml")
    assert "@" not in IDS  # as every key of a metric has


def test_memory_does_not_grow_once_the_limit_is_reached() -> None:
    made = RememberedIds(4 * CHUNK_IDS)
    peaks = []
    tracemalloc.start()
    for part in range(12):
        made.take_in([f"{part}-{n}" for n in range(8 * CHUNK_IDS)])
        made.take_changes()
        made.take_forgotten()
        peaks.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert made.n < 6 * CHUNK_IDS
    assert max(peaks[6:]) <= 1.5 * max(peaks[:6])
