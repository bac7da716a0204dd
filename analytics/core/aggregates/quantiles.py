"""Owns quantiles within 1 % by DDSketch bins, numbers to bins and back; it stores none.

C. Masson, J. E. Rim, H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", PVLDB 12(12), 2019 (https://arxiv.org/abs/1908.10693). A value x > 0 has
the bin i = ceil(log_gamma x), that is gamma**(i - 1) < x <= gamma**i with gamma = (1 + a)/(1 - a),
and the bin stands for 2 gamma**i / (gamma + 1), which is within a of every x in it, relatively.

Our bins are moved so that bin 1 is that of MAGNITUDE_MIN, and negative values take the mirrored
negative bins; what is smaller in magnitude takes bin 0. Bins are therefore monotone in the value,
one int32, and any SQL tool merges two sketches by adding their maps bin -> count. No bins are
collapsed: all finite floats beyond MAGNITUDE_MIN take 36,870 bins of each sign.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analytics.core.aggregates.measures import Floats, Integers, Items, Rows
from analytics.core.aggregates.sparse import entry_keys

ALPHA = 0.01
GAMMA = (1 + ALPHA) / (1 - ALPHA)
MAGNITUDE_MIN = 1e-12

_LOG_GAMMA = math.log(GAMMA)
_OFFSET = 1 - math.ceil(math.log(MAGNITUDE_MIN) / _LOG_GAMMA)
_LOG_CENTRE = math.log(2 / (GAMMA + 1))


def bins(values: Floats) -> NDArray[np.int32]:
    """The bin of each finite value.

    A value within a rounding error of a bin's edge may take either neighbour, depending on the
    processor's logarithm; both keep the error bound to about 1e-11.
    """
    magnitudes = np.abs(values)
    found = np.log(np.maximum(magnitudes, MAGNITUDE_MIN))
    found /= _LOG_GAMMA
    np.ceil(found, out=found)
    found += _OFFSET
    np.copysign(found, values, out=found)
    found[magnitudes < MAGNITUDE_MIN] = 0
    return found.astype(np.int32)


def values_of(items: Items) -> Floats:
    """The value that each bin stands for; finite for every bin that `bins` gives."""
    magnitudes = np.abs(items).astype(np.float64)
    values = np.exp((magnitudes - _OFFSET) * _LOG_GAMMA + _LOG_CENTRE)
    return np.asarray(np.where(items == 0, 0.0, np.copysign(values, items)))


def value_of(item: int) -> float:
    """The value that one bin stands for."""
    return float(values_of(np.array([item]))[0])


def quantile(items: Items, counts: Integers, q: float) -> float:
    """The q-quantile (0 <= q <= 1) of one sketch; nan for an empty one."""
    groups = np.zeros(len(items), np.intp)
    return float(quantiles(groups, items, counts, 1, [q])[0, 0])


def quantiles(
    groups: Rows,
    items: Items,
    counts: Integers,
    n_groups: int,
    qs: Sequence[float],
) -> Floats:
    """Quantiles of many sketches: float64[n_groups, len(qs)], nan for a group without entries.

    Entry i adds counts[i] to bin items[i] of sketch groups[i]; equal bins add up. The q-quantile of
    n values is the one of rank floor(q (n - 1)), counted from 0 in rising order: the paper's
    definition and NumPy's method "lower". Each result is within ALPHA of that value, relatively.
    """
    order = np.argsort(entry_keys(groups, items))
    groups, items = groups[order], items[order]
    upto = np.cumsum(counts[order])  # values up to and including each entry, over all groups
    ends = np.concatenate(([0], upto))[np.searchsorted(groups, np.arange(n_groups + 1))]
    totals = np.diff(ends)
    filled = totals > 0
    result = np.full((n_groups, len(qs)), np.nan)
    for column, q in enumerate(qs):
        ranks = np.floor(q * (totals[filled] - 1)).astype(np.int64)
        places = np.searchsorted(upto, ends[:-1][filled] + ranks, side="right")
        result[filled, column] = values_of(items[places])
    return result
