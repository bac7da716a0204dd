"""Owns the words that say how rivals are measured; must not measure."""

from collections.abc import Iterator

from benchmarks.rivals.catalogue import RIVALS

_ANSWERS = {
    "total": "number and sum of all events only",
    "rows": "all rows, without p95",
    "rows and p95": "all rows with p95",
}


def _table() -> Iterator[str]:
    yield "| candidate | program | what is checked | licence |"
    yield "| --- | --- | --- | --- |"
    for rival in RIVALS.values():
        program, checked = rival.home.program, _ANSWERS[rival.checks]
        yield f"| {rival.name} | `{program}` | {checked} | {rival.licence} |"


METHOD_OF_RIVALS = f"""\
The others are no part of the product and none of its dependencies: `--only NAME,NAME` selects them,
each is installed into the cache of the tests on its first run, and one that cannot be had is left
out with the reason. CPU is that of their whole process tree, user and system, from their first
event until their answer is complete and, where they commit state, committed; the start of a JVM
does not count, its compiler and collector do. They answer no queries on the way. Those that drop
late events have the limit wide open, because partitions of a full topic are read at different
speeds.

{chr(10).join(_table())}

*floor* fetches with librdkafka and decodes four fields of each event with msgspec, nothing else:
what a consumer in Python has spent with these two before it does anything. It is no pipeline.

*kafka-streams* is the DSL on Java 17 with 1 GiB of heap and a stream thread a processor: Jackson's
streaming parser takes the four fields, a repartition topic of series and amount groups them, a
persistent RocksDB window store behind the default record cache holds totals and a sketch for the
p95, with a changelog and a commit a second. *kafka-streams-local* saves the repartition topic: a
processor folds each partition into its own store, and the answer adds the partitions up. The second
half is given apart, since by then most of the code is compiled.

*quix* is Quix Streams: a repartition topic of series, amount and time, the library's own windowed
aggregations, RocksDB with a changelog, a commit every five seconds (its default). It gets fewer
events because it needs longer for each. *bytewax* is one worker that folds into the library's
windows, totals and a sketch; recovery is on with a snapshot every ten seconds (its default), so it
keeps its state safe far less often than *ours*, and it gives no row out before the topic ends.

*flink-sql* is a local cluster in one JVM with 1 GiB of heap and a slot a processor. The query
groups by ten seconds, type and country with mini-batches of at most a second and two-phase
aggregation, on the default heap state with a checkpoint to disk a second, by which the rows come
out too. Single events are read by Flink's own JSON format; framed records by a table function of
ours that splits and parses, because SQL has nothing for that. The p95 is a sketch of ours as an
aggregate function: Flink's own keeps every value. It begins when the job runs.
"""
