"""Asks brokers for the ids of topics, by which one that was deleted and made anew is told apart.

aiokafka speaks versions of the metadata request that know topics by name alone; the ids came with
version 10 (Kafka 2.8, KIP-516).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NodeNotReadyError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

ID_BYTES = 16
#: What brokers say for a topic that has no id.
NO_ID = bytes(ID_BYTES)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        return bytes(data.read(ID_BYTES))


_TEXT = CompactString("utf-8")
_NODES = CompactArray(Int32)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", _TEXT),
                ("port", Int32),
                ("rack", _TEXT),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", _NODES),
                        ("isr", _NODES),
                        ("offline_replicas", _NODES),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", _TEXT), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        no_tags: dict[int, bytes] = {}
        topics = [(NO_ID, name, no_tags) for name in self._names]
        return request_struct_class(topics, False, False, False, no_tags)


async def topic_ids(client: AIOKafkaClient, names: Sequence[str]) -> Mapping[str, bytes]:
    """The id of each topic that exists, 16 bytes; `NO_ID` where brokers know no ids.

    Raises KafkaError when no broker answers.
    """
    failed: KafkaError = NodeNotReadyError("no broker is known")
    for broker in client.cluster.brokers():
        try:
            found = await client.send(broker.nodeId, _MetadataRequest(names))
        except IncompatibleBrokerVersion:
            return dict.fromkeys(names, NO_ID)
        except KafkaError as error:
            failed = error
            continue
        return {name: topic_id for code, name, topic_id, *_ in found.topics if not code}
    raise failed
