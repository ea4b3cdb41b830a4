"""What a Resource declares fits its message and its table, or the server does not start."""

from dataclasses import replace
from typing import Any

import pytest
from plinth.travel.v1.expense_pb2 import Expense
from sqlalchemy import Column, MetaData, Table, Text

from server.domains.sites.pages import PageService
from server.domains.sites.sections import SectionService
from server.domains.travel.expenses import ExpenseService
from server.domains.travel.trips import TripService
from server.kernel.resources import Parent, Resource, States
from server.kernel.resources.cascade import CascadeFault, Descendants
from server.kernel.resources.convert import PlanFault
from server.kernel.resources.resource import AnyHooks, Hooks
from server.kernel.resources.rows import ResourceRows

STATES = States("title", (1,), {})
NONE: AnyHooks = Hooks()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"owner": "person_id"}, "names the field `person_id`, which the message does not have"),
        ({"owner": "title"}, "names `title`, which callers do not set: mark it OUTPUT_ONLY"),
        ({"order": "group_size"}, "has an order of any number: bound it with Resource(most=...)"),
        ({"order": "title"}, "names `title`, which counts: make it int32"),
        ({"number": "budget"}, "names `budget`, and `trips` has no column of that name: add one"),
        ({"parent": Parent("group_size", PageService.resource)}, "which holds an id: make it a string"),
        ({"parent": Parent("title", PageService.resource)}, "stays as it was created: mark it IMMUTABLE"),
        ({"states": STATES}, "names `title`, which holds a state: make it an enum"),
    ],
)
def test_a_declaration_that_does_not_fit_keeps_the_server_from_starting(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(PlanFault) as refused:
        ResourceRows(NONE, replace(TripService.resource, **change))
    assert fault in str(refused.value)
    assert "of plinth.travel.v1.Trip" in str(refused.value)


def test_what_is_declared_today_fits() -> None:
    for resource in (TripService.resource, ExpenseService.resource, SectionService.resource):
        ResourceRows(NONE, resource)


def test_a_child_that_could_not_be_restored_with_its_parent_is_refused() -> None:
    lasting = Table("lasting", MetaData(), Column("tenant_id", Text), Column("id", Text), Column("trip_id", Text))
    child = Resource(Expense, lasting, parent=Parent("trip_id", TripService.resource))
    with pytest.raises(CascadeFault, match="lasting is not deleted softly, and trips, its parent, is"):
        Descendants(TripService.resource, [TripService.resource, child])


def test_what_is_cached_of_a_child_names_no_more_than_the_tenant() -> None:
    found = Descendants(TripService.resource, [TripService.resource, ExpenseService.resource])
    assert found.resources == [ExpenseService.resource]
    with pytest.raises(CascadeFault, match="trip_id"):
        found.with_tags(["trip:{trip_id}:expenses"])


def test_children_of_children_are_found() -> None:
    below: Resource[Any] = replace(ExpenseService.resource, parent=Parent("trip_id", ExpenseService.resource))
    found = Descendants(TripService.resource, [TripService.resource, ExpenseService.resource, below])
    assert found.resources == [ExpenseService.resource, below]
