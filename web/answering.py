"""Answers to queries: each metric from the worker that owns it, joined here."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson

from analytics import clock
from analytics.core.definitions.catalog import Catalog
from analytics.core.definitions.metric import Metric
from analytics.core.live.metric import LiveMetric
from analytics.core.query.answer import Answer, join
from analytics.core.query.describe import describe
from analytics.core.query.execute import execute
from analytics.core.query.formats import from_json
from analytics.core.query.request import Query, QueryLimits, parse
from analytics.core.query.rollups import Rollups
from analytics.errors import QueryError, QueryMistake
from web.holding import Holding
from web.peers import Peers
from web.problem import Unavailable
from web.reuse import Question, Reuse

QUERY_PATH = "/v1/query"
METRICS_PATH = "/v1/metrics"


@dataclass(frozen=True, slots=True)
class Answering:
    """What the views ask. ``sources`` is the number of partitions of the events topic."""

    catalog: Catalog
    holding: Holding
    peers: Peers
    sources: int
    limits: QueryLimits = QueryLimits()
    reuse: Reuse = field(default_factory=Reuse)
    rollups: Rollups = field(default_factory=Rollups)

    async def answer(self, document: object, *, part: bool) -> Answer:
        """The answer to a query document.

        ``part`` means that another worker asks for the metric this one owns: the rows are then
        neither ordered nor cut, and nobody else is asked. Raises QueryError when the question is
        wrong, Unavailable when an owner cannot be reached.
        """
        began = clock.monotonic()
        query = parse(document, self.catalog, clock.now_ms(), self.limits)
        if part or all(map(self.holding.owns, query.metrics)):
            answer = self._own(Question(query, part))
        else:
            answers = await asyncio.gather(*(self._of(query, one) for one in query.metrics))
            answer = join(answers, query)
        took_ms = round((clock.monotonic() - began) * 1000, 3)
        return replace(answer, meta=replace(answer.meta, took_ms=took_ms))

    def _own(self, question: Question) -> Answer:
        """The answer to a question about metrics of this worker alone, found before or now."""
        query = question.query
        lives = [self._live(metric) for metric in query.metrics]
        known = self.reuse.find(question, lives)
        if known is not None:
            return replace(known, meta=known.meta.given_again(clock.now_ms()))
        answers = [self._local(query, metric) for metric in query.metrics]
        answer = answers[0] if question.part else join(answers, query)
        self.reuse.keep(question, lives, answer)
        return answer

    async def describe(self, name: str, *, part: bool) -> Mapping[str, object]:
        """The description of one metric, from its owner."""
        metric = self.metric(name)
        if part and not self.holding.owns(metric):
            raise Unavailable(f"{metric.name} is moving between workers")
        if self.holding.owns(metric):
            return describe(metric, self._live(metric), self.sources)
        path = f"{METRICS_PATH}?name={name}"
        raw = await self.peers.get(self.holding.owner(metric), path)
        try:
            described: Mapping[str, object] = orjson.loads(raw)["metrics"][0]
        except (ValueError, LookupError, TypeError) as error:
            raise Unavailable(f"the owner of {metric.name} answers something else") from error
        return described

    async def describe_all(self) -> list[Mapping[str, object]]:
        """The descriptions of all metrics; what an unreachable owner knows is left null."""
        return list(
            await asyncio.gather(*(self._describe_or_null(one) for one in self.catalog.metrics))
        )

    def metric(self, name: str) -> Metric:
        """The metric of that name; QueryError (404) if there is none."""
        metric = self.catalog.by_name.get(name)
        if metric is None:
            raise QueryError([QueryMistake("/name", f"no metric is called {name!r}")], status=404)
        return metric

    async def _describe_or_null(self, metric: Metric) -> Mapping[str, object]:
        try:
            return await self.describe(metric.name, part=False)
        except Unavailable:
            return describe(metric, None, self.sources)

    async def _of(self, query: Query, metric: Metric) -> Answer:
        if self.holding.owns(metric):
            return self._local(query, metric)
        owner = self.holding.owner(metric)
        raw = await self.peers.post(owner, QUERY_PATH, query.part(metric.name))
        try:
            return from_json(raw)
        except ValueError as error:  # a worker of another version, or no worker
            raise Unavailable(f"the owner of {metric.name} answers something else") from error

    def _local(self, query: Query, metric: Metric) -> Answer:
        if not self.holding.owns(metric):
            raise Unavailable(f"{metric.name} is moving between workers")
        live, now_ms = self._live(metric), clock.now_ms()
        return execute(query, metric.name, live, now_ms, self.sources, self.rollups)

    def _live(self, metric: Metric) -> LiveMetric:
        # Nothing heard of a metric yet is an answer without rows, not an error.
        return self.holding.live(metric) or LiveMetric(metric)
