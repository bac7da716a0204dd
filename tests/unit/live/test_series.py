"""The numbering of series and the dictionaries of their dimensions."""

import numpy as np

from analytics.core.live.series import SeriesIndex


def texts(index: SeriesIndex, dimension: int) -> list[str]:
    labels = index.labels(dimension)
    return [labels[code] for code in index.codes(dimension)]


def test_a_key_keeps_its_id_and_new_keys_get_the_next_ids() -> None:
    index = SeriesIndex(2)
    assert index.add([("UA", "JFK"), ("AA", "JFK")]).tolist() == [0, 1]
    assert index.add([("AA", "JFK"), ("UA", "EWR"), ("UA", "EWR")]).tolist() == [1, 2, 2]
    assert len(index) == 3
    assert index.key(2) == ("UA", "EWR")


def test_every_dimension_is_coded_into_a_dictionary_of_its_own() -> None:
    index = SeriesIndex(2)
    index.add([("UA", "JFK"), ("AA", "JFK"), ("UA", "EWR")])
    assert texts(index, 0) == ["UA", "AA", "UA"]
    assert texts(index, 1) == ["JFK", "JFK", "EWR"]
    assert index.labels(1) == ["JFK", "EWR"]


def test_ranks_follow_the_order_of_the_texts_also_after_new_ones() -> None:
    index = SeriesIndex(1)
    index.add([("UA",), ("AA",)])
    assert index.ranks(0).tolist() == [1, 0]
    index.add([("DL",)])
    assert index.ranks(0).tolist() == [2, 0, 1]


def test_codes_survive_the_growth_of_their_array() -> None:
    index = SeriesIndex(1)
    for i in range(1_000):
        index.add([(f"k{i % 700}",)])
    assert len(index) == 700
    assert texts(index, 0) == [f"k{i}" for i in range(700)]


def test_retain_renumbers_series_and_drops_texts_that_nobody_uses() -> None:
    index = SeriesIndex(2)
    index.add([("UA", "JFK"), ("AA", "LGA"), ("UA", "EWR")])
    assert index.retain(np.array([0, 2])).tolist() == [0, -1, 1]
    assert index.keys == [("UA", "JFK"), ("UA", "EWR")]
    assert index.labels(0) == ["UA"]
    assert index.add([("AA", "LGA")]).tolist() == [2]


def test_a_metric_without_dimensions_has_the_one_series_of_the_empty_key() -> None:
    index = SeriesIndex(0)
    assert index.add([(), ()]).tolist() == [0, 0]
    assert index.key(0) == ()
