"""How the suite chooses: by what a resource declares, from the day on which it does."""

from dataclasses import replace
from typing import Any

import pytest

from tests.standard import resources as suite
from tests.standard.resources import MOST, TELLING, Described, having, resources


def named(name: str) -> Described:
    """A resource of the product."""
    return next(kind for kind in resources() if kind.name == name)


def test_what_is_chosen_has_what_is_needed_and_differs() -> None:
    assert {kind.name for kind in having("order")} == {"NavigationItem", "Section", "StoryChapter"}
    assert not any("owner" in kind.capabilities for kind in having("text", "!owner"))
    chosen = having()
    assert len(chosen) == MOST < len(resources())
    for capability in TELLING:
        assert len({capability in kind.capabilities for kind in chosen}) == 2, capability
    assert having("order", domain="travel") == []


@pytest.mark.parametrize("declared", [{"most": 7}, {"order": "group_size"}, {"number": "group_size"}], ids=str)
def test_a_capability_is_tried_once_it_is_declared(declared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    trips = named("Trip")
    (capability,) = declared
    assert capability not in trips.capabilities
    changed = replace(trips, resource=replace(trips.resource, **declared))
    monkeypatch.setattr(suite, "resources", lambda: (changed,))
    assert having("owner", capability) == [changed]


def test_fields_are_found_by_what_they_may_hold() -> None:
    page, expense, role = named("Page"), named("Expense"), named("Role")
    assert (page.text, page.other, page.key, page.free_form) == ("title", "description", "slug", "settings")
    assert (page.longest("title"), page.required, page.unsortable) == (300, ["slug"], "pageTemplateId")
    assert (expense.immutable, expense.key, role.immutable) == (["tripId"], "", ["name"])
    assert "createTime" in page.output_only
    # What belongs to a parent is told by its parent.
    assert "pageId" not in named("Section").output_only
