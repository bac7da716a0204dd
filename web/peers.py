"""The other workers: who owns a partition, and asking him; no question is relayed twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from web.bodies import read_whole
from web.problem import CONTENT_TYPE, Unavailable, error_of

#: Marks a question from another worker: whoever gets it answers it or refuses, but never relays it.
PART_HEADER = "X-Analytics-Part"

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 256 << 20


@dataclass(frozen=True, slots=True)
class Peers:
    """The workers of the fleet, as the last assignment of partitions named them."""

    app: Any
    table_name: str

    def owner(self, partition: int) -> str | None:
        """Base URL of the worker that owns ``partition``, None while nobody does."""
        topic = self.app.tables[self.table_name].changelog_topic.get_topic_name()
        metadata: Mapping[str, Mapping[str, list[int]]] = self.app.router.tables_metadata()
        for url, topics in metadata.items():
            if partition in topics.get(topic, ()):
                return url
        return None

    async def get(self, partition: int, path: str) -> bytes:
        """Body of a GET from the owner of ``partition``."""
        return await self._ask("GET", partition, path, None)

    async def post(self, partition: int, path: str, document: object) -> bytes:
        """Body of the answer of the owner of ``partition`` to a JSON document."""
        return await self._ask("POST", partition, path, orjson.dumps(document))

    async def _ask(self, method: str, partition: int, path: str, body: bytes | None) -> bytes:
        url = self.owner(partition)
        if url is None:
            raise Unavailable(f"no worker owns partition {partition} yet")
        if url.rstrip("/") == str(self.app.conf.canonical_url).rstrip("/"):
            raise Unavailable(f"this worker is still taking over partition {partition}")
        if self.app.http_client.closed:
            raise Unavailable("this worker is shutting down")
        headers = {PART_HEADER: "1", "Content-Type": "application/json"}
        try:
            async with self.app.http_client.request(
                method,
                url.rstrip("/") + path,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
                allow_redirects=False,
            ) as response:
                content = await read_whole(response.content, ANSWER_BYTES_MAX)
                if len(content) > ANSWER_BYTES_MAX:
                    raise Unavailable(f"{url} answered more than {ANSWER_BYTES_MAX} bytes")
                if response.content_type == CONTENT_TYPE and response.status < 500:
                    raise error_of(content)
                if response.status != 200:
                    raise Unavailable(f"{url} answered {response.status} for {path}")
                return content
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{url} does not answer: {error!r}") from error
