"""Owns the estimate of distinct texts by HyperLogLog: texts to registers and back; it stores none.

P. Flajolet, E. Fusy, O. Gandouet, F. Meunier, "HyperLogLog: the analysis of a near-optimal
cardinality estimation algorithm", AofA 2007, over a 64-bit hash (XXH3) as in S. Heule,
M. Nunkesser, A. Hall, "HyperLogLog in practice", EDBT 2013. The estimator is the improved raw one
of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017
(https://arxiv.org/abs/1702.01284): unbiased over the whole range, without tables and without a
switch between two estimators. The standard error is 1.04 / sqrt(2**13) = 1.15 %.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from analytics.core.aggregates.measures import Floats, Integers, Items, Rows

PRECISION = 13  # bits of the hash that choose the register
REGISTERS = 1 << PRECISION
RANK_MAX = 64 - PRECISION + 1  # of a hash whose other bits are all zero

_RANK_BITS = 6
_REST_BITS = 64 - PRECISION
_REST_MASK = np.uint64((1 << _REST_BITS) - 1)
_ALPHA = 1 / (2 * math.log(2))  # the limit of Flajolet's bias factor for many registers


def registers(texts: Sequence[str]) -> tuple[NDArray[np.int32], Integers]:
    """(register, rank) of each text: the rank is the place of the first 1 past the register's bits.

    The hash is of the UTF-8 bytes, so that any other program can reproduce the registers.
    """
    hashes = np.fromiter(map(xxh3_64_intdigest, map(str.encode, texts)), np.uint64, len(texts))
    items = (hashes >> np.uint64(_REST_BITS)).astype(np.int32)
    # 51 bits fit a float64 exactly, and its exponent is the length of the number in bits.
    lengths = np.frexp((hashes & _REST_MASK).astype(np.float64))[1]
    return items, RANK_MAX - lengths.astype(np.int64)


def estimates(groups: Rows, items: Items, ranks: Integers, n_groups: int) -> Floats:
    """Distinct texts of many sketches at once: float64[n_groups], 0 for a group without entries.

    Entry i says that register items[i] of sketch groups[i] has at least ranks[i]; of equal
    registers the greatest rank holds.
    """
    # Ertl's denominator m sigma(C[0]/m) + sum of C[k] 2**-k + m tau(1 - C[q+1]/m) 2**-q, where C[k]
    # registers of m have rank k, and q is the greatest number of zeros that a hash can show.
    groups, ranks = _merged(groups, items, ranks)
    filled = np.bincount(groups, minlength=n_groups)
    saturated = np.bincount(groups[ranks == RANK_MAX], minlength=n_groups)
    below = ranks < RANK_MAX
    inverse = np.bincount(groups[below], np.exp2(-ranks[below].astype(np.float64)), n_groups)
    denominator = (
        REGISTERS * _sigma(1 - filled / REGISTERS)
        + inverse
        + REGISTERS * _tau(1 - saturated / REGISTERS) * 2.0**-_REST_BITS
    )
    return np.asarray(_ALPHA * REGISTERS**2 / denominator)


def _merged(groups: Rows, items: Items, ranks: Integers) -> tuple[Rows, Integers]:
    """Groups and ranks of the registers, each once and with its greatest rank."""
    # One integer of each entry, in which the rank comes last: sorting needs no index beside it.
    packed = (groups.astype(np.int64) << PRECISION | items) << _RANK_BITS | ranks
    packed.sort()
    last = packed[np.flatnonzero(np.diff(packed >> _RANK_BITS, append=-1))]
    return last >> (PRECISION + _RANK_BITS), last & ((1 << _RANK_BITS) - 1)


def _sigma(x: Floats) -> Floats:
    """x + sum of x**(2**k) 2**(k - 1) for k >= 1 (Ertl's sigma); infinite for x = 1."""
    total, term, weight = x.copy(), x.copy(), 1.0
    open_ = x < 1
    while True:
        term = np.where(open_, term * term, 0.0)
        grown = total + term * weight
        if np.array_equal(grown, total):
            return np.where(open_, total, np.inf)
        total, weight = grown, weight * 2


def _tau(x: Floats) -> Floats:
    """(1 - x - sum of (1 - x**(2**-k))**2 2**-k for k >= 1) / 3 (Ertl's tau)."""
    total, root, weight = 1 - x, x.copy(), 1.0
    while True:
        root, weight = np.sqrt(root), weight / 2
        shrunk = total - (1 - root) ** 2 * weight
        if np.array_equal(shrunk, total):
            return np.where((x == 0) | (x == 1), 0.0, total / 3)
        total = shrunk
