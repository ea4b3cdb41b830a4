"""Order (`Resource.order`): siblings have places, which Reorder changes."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from server.kernel.policy import Kind
from tests.clients import rows
from tests.standard.doors import Door, new_parent, refusal
from tests.standard.resources import NOBODY

needs = pytest.mark.needs
pytestmark = needs("order", "reorder", "soft_deletes")


@pytest.fixture
def siblings(door: Door) -> list[str]:
    """The ids of some, one after the other."""
    return [door.create()["id"] for _ in range(5)]


def reorder(door: Door, ids: list[str]) -> Any:
    """Put them in this order."""
    return door.do(door.kind.standard[Kind.REORDER].name, {"ids": ids})


def places(door: Door) -> list[int]:
    """The places of all, in their order."""
    return [item[door.kind.resource.order] for item in door.listing().items]


def reordered(door: Door) -> int:
    """How many events tell of a new order."""
    event = door.kind.standard[Kind.REORDER].emits
    return len(rows(door.tenant.stack, "SELECT FROM events WHERE tenant_id = %s AND type = %s", door.tenant.id, event))


def test_they_stand_in_the_order_in_which_they_were_put(door: Door, siblings: list[str]) -> None:
    assert door.listing().ids == siblings
    wanted = siblings[::-1]
    assert reorder(door, wanted) == {"ids": wanted}
    assert (door.listing().ids, places(door), reordered(door)) == (wanted, [1, 2, 3, 4, 5], 1)
    last = door.create()["id"]
    assert door.listing().ids == [*wanted, last]


def test_an_order_that_they_have_already_changes_nothing(door: Door, siblings: list[str]) -> None:
    before = door.listing()
    assert reorder(door, siblings) == {"ids": siblings}
    assert (door.listing(), reordered(door)) == (before, 0)


def test_an_order_names_each_of_them_once(door: Door, siblings: list[str]) -> None:
    first, *others = siblings
    foreign = [door.below(new_parent(door.tenant, door.kind)).create()["id"]] if door.kind.resource.parent else []
    door.delete(first)
    for ids, fields, rules in (
        (others[1:], {"ids"}, {"ids.all"}),
        *(([*others, strange], {"ids[4]"}, {"ids.known"}) for strange in (first, NOBODY, *foreign)),
        ([others[0]] * 2, {"ids"}, {"repeated.unique"}),
        ([], {"ids"}, {"repeated.min_items"}),
    ):
        with refusal("RULE_VIOLATED") as refused:
            reorder(door, ids)
        assert (set(refused.problem.violations), set(refused.problem.rules)) == (fields, rules)
    assert door.listing().ids == others


def test_places_are_given_once_however_many_are_made_at_once(door: Door) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: door.create()[door.kind.resource.order], range(16)))
    assert sorted(made) == [*range(1, 17)]


def test_of_many_orders_at_once_one_stands_whole(door: Door, siblings: list[str]) -> None:
    orders = [siblings[shift:] + siblings[:shift] for shift in range(len(siblings))] * 2
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda ids: reorder(door, ids), orders))) == len(orders)
    assert (door.listing().ids in orders, places(door)) == (True, [1, 2, 3, 4, 5])
