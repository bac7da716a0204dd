"""Owns the counters of the most frequent texts by Misra-Gries, bounded and mergeable.

J. Misra, D. Gries, "Finding repeated elements", 1982; merged as in P. K. Agarwal, G. Cormode,
Z. Huang, J. M. Phillips, Z. Wei, K. Yi, "Mergeable summaries", TODS 38(4), 2013, who also show that
these counters and those of SpaceSaving say the same. A counter never exceeds the true count and
falls short of it by at most n / (CAPACITY + 1) over n texts, and so does a sum of counters over
panes and partitions. Up to CAPACITY different texts the counts are exact.
"""

from collections.abc import Mapping, Sequence

CAPACITY = 100
"""Counters that a prune leaves."""

COUNTERS_MAX = 2 * CAPACITY
"""Counters at which the next new text prunes: pruning by halves makes its cost constant a text."""

Counters = dict[str, int]


def fold(counters: list[Counters], rows: Sequence[int], texts: Sequence[str]) -> None:
    """Count texts[i] in counters[rows[i]], in order; the empty text is no text.

    When to prune depends on the counters alone, so no split into batches changes the result.
    """
    for row, text in zip(rows, texts, strict=True):
        if text:
            counts = counters[row]
            counts[text] = counts.get(text, 0) + 1
            if len(counts) > COUNTERS_MAX:
                counters[row] = pruned(counts)


def pruned(counts: Counters) -> Counters:
    """At most CAPACITY counters: the next greatest count is taken off all, and only the rest stays.

    Texts that tie with it go, whatever their order, so the result is a function of the counts.
    """
    if len(counts) <= CAPACITY:
        return counts
    taken = sorted(counts.values(), reverse=True)[CAPACITY]
    return {text: count - taken for text, count in counts.items() if count > taken}


def add(counts: Counters, others: Mapping[str, int]) -> None:
    """Add counters to `counts` in place. None are pruned, so it is associative and commutative."""
    for text, count in others.items():
        counts[text] = counts.get(text, 0) + count


def greatest(counts: Mapping[str, int], k: int) -> list[tuple[str, int]]:
    """The k greatest counters, falling; of equal counts the text that sorts first comes first."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
