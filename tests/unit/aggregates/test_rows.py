"""Keys as ids and ids as rows: what is shared between panes, and what is let go of."""

import numpy as np
import pytest

from analytics.core.aggregates.keys import OTHER, KeyIndex
from analytics.core.aggregates.pane import Pane
from tests.unit.aggregates.panes import Event, fold, spec, state

PLENTY = 6_000
"""More texts than a key index remembers in order to share them."""


def test_a_key_keeps_its_id_and_new_keys_get_the_next_ones_whichever_way_they_come() -> None:
    keys = KeyIndex()
    assert keys.ids(iter([("a",), ("b",), ("a",)]), 3).tolist() == [0, 1, 0]
    assert keys.add([("c",), ("b",), ("c",), ("d",)]).tolist() == [2, 1, 2, 3]
    assert keys.keys_of(np.array([3, 0], np.int32)) == [("d",), ("a",)]


def test_too_few_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="iterator too short"):
        KeyIndex().ids([("a",)], 2)


def test_what_keys_have_in_common_is_one_object() -> None:
    keys = KeyIndex()
    for i in range(PLENTY):
        assert keys[f"series {i}", "".join(["D", "E"])] == i
    countries = {id(country) for _, country in keys.keys_by_id}
    assert len(countries) < 10


def test_retain_renumbers_what_is_kept_and_forgets_the_rest() -> None:
    keys = KeyIndex()
    keys.add([("a",), ("b",), ("c",)])
    assert keys.retain(np.array([0, 2])).tolist() == [0, -1, 1]
    assert keys.keys_by_id == [("a",), ("c",)]
    assert keys.ids([("c",), ("b",)], 2).tolist() == [1, 2]


def test_panes_that_share_their_keys_have_rows_of_their_own() -> None:
    keys = KeyIndex()
    first, second = (Pane(spec(), start_ms, keys=keys) for start_ms in (0, 10))
    fold(first, [Event(("a",)), Event(("b",))])
    fold(second, [Event(("c",)), Event(("b",))])
    assert (first.keys, second.keys) == ([("a",), ("b",)], [("c",), ("b",)])
    assert second.ids.tolist() == [2, 1]


def test_a_limit_holds_for_each_pane_and_not_for_the_keys_they_share() -> None:
    keys = KeyIndex()
    first, second = (Pane(spec(max_series=1), start_ms, keys=keys) for start_ms in (0, 10))
    fold(first, [Event(("a",)), Event(("b",))])
    fold(second, [Event(("b",)), Event(("a",)), Event((OTHER,))])
    assert (first.keys, second.keys) == ([("a",), (OTHER,)], [("b",), (OTHER,)])
    assert second.column("count").tolist() == [1, 2]
    assert (first.overflowed, second.overflowed) == (1, 1)


def test_renumbered_and_settled_panes_go_on_as_if_nothing_had_been() -> None:
    keys = KeyIndex()
    pane, plain = Pane(spec(), 0, keys=keys), Pane(spec(), 0)
    keys.add([("unused",)])
    before, after = [Event((key,), 1, 1.0, "x") for key in "aba"], [Event((k,)) for k in "cab"]
    for each in (pane, plain):
        fold(each, before)
    pane.renumber(keys.retain(pane.ids.copy()))
    pane.settle()
    for each in (pane, plain):
        fold(each, after)
    assert state(pane) == state(plain)
    assert pane.keys == plain.keys
    assert pane.ids.tolist() == [0, 1, 2]
