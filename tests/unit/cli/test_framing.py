"""Tests of cutting NDJSON into records, wherever its blocks begin and end."""

from hypothesis import given
from hypothesis import strategies as st

from analytics.transport.framing import RECORD_BYTES_MAX, Framer

LINES = st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=40)


def frame(blocks: list[bytes], *, lines_max: int = 3) -> tuple[list[bytes], list[str]]:
    """The values of all records, and what was said of lines that fit none."""
    framer = Framer(lines_max)
    values = [one.value for block in blocks for one in framer.feed(block)]
    values += [one.value for one in framer.finish()]
    return values, [str(one) for one in framer.oversized]


@given(LINES, st.lists(st.integers(0, 500), max_size=10), st.integers(1, 5))
def test_any_cutting_of_a_stream_gives_the_same_records(
    lines: list[bytes], cuts: list[int], lines_max: int
) -> None:
    stream = b"\n".join(lines)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    blocks = [stream[start:end] for start, end in zip(places, places[1:], strict=False)]

    values, oversized = frame(blocks, lines_max=lines_max)

    kept = [line.strip() for line in lines if line.strip()]
    expected = [kept[at : at + lines_max] for at in range(0, len(kept), lines_max)]
    assert values == [b"\n".join(one) for one in expected]
    assert oversized == []


def test_a_pause_sends_whole_lines_and_keeps_the_rest() -> None:
    framer = Framer(10)

    assert list(framer.feed(b"a\nb\nc")) == []
    assert [one.value for one in framer.flush()] == [b"a\nb"]
    assert [one.value for one in framer.finish()] == [b"c"]


def test_a_record_stays_below_its_limit() -> None:
    line = b"x" * 400_000
    values, _ = frame([b"\n".join([line] * 5)], lines_max=100)

    assert b"\n".join(values) == b"\n".join([line] * 5)
    assert max(map(len, values)) <= RECORD_BYTES_MAX


def test_a_line_that_fits_no_record_is_named_and_spoils_no_other() -> None:
    long = b"x" * (RECORD_BYTES_MAX + 1)
    stream = b"a\n" + long + b"\nb\n"
    blocks = [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)]

    values, oversized = frame(blocks)

    assert values == [b"a\nb"]
    assert oversized == ["line 2: 900,001 bytes, more than the 900,000 that a record may have"]


def test_a_line_without_an_end_is_not_held_in_memory() -> None:
    framer = Framer(10)
    for _ in range(100):
        assert list(framer.feed(b"x" * 100_000)) == []
        assert len(framer._tail) <= RECORD_BYTES_MAX

    assert list(framer.finish()) == []
    assert [one.size_bytes for one in framer.oversized] == [10_000_000]
