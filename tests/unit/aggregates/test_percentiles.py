"""Dense histograms against the sketches' own quantiles."""

import numpy as np
import pytest

from analytics.core.aggregates import percentiles as module
from analytics.core.aggregates.combine import Part, merge
from analytics.core.aggregates.percentiles import percentiles
from tests.unit.query.held import metric, panes

QS = (0.0, 0.5, 0.95, 0.999)


def parts(groups: int) -> list[Part]:
    """Three panes of 40 series with values of both signs, many magnitudes, and none."""
    made: list[Part] = []
    for at in range(3):
        random = np.random.default_rng(at)
        values = random.normal(0, 1, 2_000) * 10.0 ** random.integers(-3, 4, 2_000)
        rows = [
            (at * 10_000, "UA", f"o{i % 40}", None if i % 40 == 7 else float(value))
            for i, value in enumerate(values)
        ]
        [pane] = panes(metric(), rows).values()
        made.append((pane, np.arange(40), np.arange(40) % groups))
    return made


@pytest.mark.parametrize("groups", [1, 3, 40])
@pytest.mark.parametrize("cells_max", [1, 10_000, 4_000_000])
def test_percentiles_equal_the_quantiles_of_the_merge(
    groups: int, cells_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CELLS_MAX", cells_max)
    given = parts(groups)
    expected = merge(given, groups).quantiles(QS)
    np.testing.assert_array_equal(percentiles(given, groups, QS), expected)


def test_groups_without_values_have_no_percentile() -> None:
    assert np.isnan(percentiles([], 2, QS)).all()
    assert percentiles([], 0, QS).shape == (0, 4)
