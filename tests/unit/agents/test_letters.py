"""Dead letters: what they say of a rejected line."""

from agents.letters import RAW_BYTES_MAX, dead_letters
from analytics import __version__
from analytics.core.events.codec import Rejected
from analytics.core.events.reasons import Reason
from analytics.transport.producer import Outgoing
from tests.unit.agents.workers import Record

RECORDS = [Record(40, b"{}"), Record(43, b"{}\nnot json")]


def letter(raw: bytes, detail: str = "a line must be one JSON object") -> Outgoing:
    rejected = Rejected(1, 1, raw, Reason.INVALID_JSON, detail)
    [one] = dead_letters("dead-letters", ("events", 7), RECORDS, [rejected])
    return one


def test_a_letter_has_the_original_bytes_and_says_why_and_where() -> None:
    one = letter(b"not json")
    assert (one.topic, one.key, one.value) == ("dead-letters", b"invalid_json", b"not json")
    assert dict(one.headers) == {
        "reason": b"invalid_json",
        "topic": b"events",
        "partition": b"7",
        "offset": b"43",
        "line": b"1",
        "size": b"8",
        "app_version": __version__.encode(),
        "detail": b"a line must be one JSON object",
    }


def test_a_line_that_no_record_could_take_is_cut_and_its_size_told() -> None:
    one = letter(b"x" * 2_000_000)
    assert one.value is not None and len(one.value) == RAW_BYTES_MAX
    assert dict(one.headers)["size"] == b"2000000"


def test_a_letter_with_its_headers_fits_into_a_request() -> None:
    one = letter(b"x" * 2_000_000, detail="ü" * 300)
    headers = sum(len(name) + len(value) for name, value in one.headers)
    assert len(one.value or b"") + headers + 1_000 < 1_048_588


def test_no_rejected_lines_no_letters() -> None:
    assert list(dead_letters("dead-letters", ("events", 7), RECORDS, [])) == []
