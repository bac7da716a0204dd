"""Dead letters: rejected lines as records that say why and where; it sends nothing."""

from collections.abc import Iterator, Sequence

from analytics import __version__
from analytics.core.events.codec import Rejected
from analytics.transport.producer import Outgoing
from analytics.transport.records import Record

_VERSION = __version__.encode()
#: A letter with its headers must fit into a record, whose limit is 1 MB unless the topic says more.
RAW_BYTES_MAX = 1_000_000


def dead_letters(
    topic: str, source: tuple[str, int], records: Sequence[Record], rejected: Sequence[Rejected]
) -> Iterator[Outgoing]:
    """One record a rejected line: its original bytes, the reason as key and in the headers.

    A line that no record could take is cut; the header `size` has its length in bytes.

    ``source`` is the topic and partition that ``records`` came from; ``line`` counts from 0 within
    the record at ``offset``. Together they tell one letter from its repetition.
    """
    source_topic, partition = source
    for one in rejected:
        yield Outgoing(
            topic=topic,
            key=one.reason.encode(),
            value=one.raw[:RAW_BYTES_MAX],
            headers=(
                ("reason", one.reason.encode()),
                ("topic", source_topic.encode()),
                ("partition", str(partition).encode()),
                ("offset", str(records[one.record].offset).encode()),
                ("line", str(one.line).encode()),
                ("size", str(len(one.raw)).encode()),
                ("app_version", _VERSION),
                ("detail", one.detail.encode()),
            ),
        )
