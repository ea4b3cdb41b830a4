"""Two users in each of two tenants, whatever they do and in whatever order: nothing of one comes to another.

Lists, reads, sums, exports, streams (live and on resume) and webhooks are looked at.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.clients import Rest, Tenant, another_tenant, new_member, new_tenant
from tests.domains.realtime.test_stream import listening
from tests.domains.travel.instances import new_expense, new_trip
from tests.domains.travel.test_trips import EXPENSES, TRIPS, made
from tests.domains.webhooks.receiver import Receiver
from tests.domains.webhooks.test_delivery_stack import webhook_at
from tests.stack import Stack, wait_for
from tests.streams import sse

ACTIONS = ("create", "spend", "rename", "cancel", "restore", "delete", "undelete", "read", "list")
# Who acts (two tenants with two users each), what they do, and to which of their trips.
steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(ACTIONS), st.integers(0, 9)), min_size=25, max_size=50)


@dataclass
class Person:
    """A user of a tenant, and what is known to be theirs."""

    tenant: Tenant
    id: str
    token: str
    trips: list[str] = field(default_factory=list)
    expenses: list[str] = field(default_factory=list)

    @property
    def rest(self) -> Rest:
        """REST as this person."""
        return Rest(self.tenant.stack, self.token)

    @property
    def own(self) -> set[str]:
        """The ids of everything."""
        return {*self.trips, *self.expenses}


@pytest.fixture(scope="module")
def people(stack: Stack) -> list[Person]:
    first = new_tenant(stack)
    found = []
    for tenant in (first, another_tenant(first)):
        for _ in range(2):
            account, session = new_member(tenant, "member")
            found.append(Person(tenant, account.id, session.access_token))
    return found


@pytest.fixture(scope="module")
def hooks(people: list[Person]) -> Iterator[Receiver]:
    """Each tenant has a webhook for everything, and one that names trips."""
    with Receiver() as receiver:
        for number, tenant in enumerate((people[0].tenant, people[2].tenant)):
            webhook_at(tenant, receiver.url(f"/everything/{number}"), "*")
            webhook_at(tenant, receiver.url(f"/trips/{number}"), "trip.*")
        yield receiver


def act(person: Person, action: str, number: int) -> None:
    """Do one thing to one of one's own trips. It may be refused, as in the wrong state."""
    rest = person.rest
    if action == "create" or not person.trips:
        person.trips.append(made(rest, TRIPS, new_trip(f"of {person.id}"))["id"])
        return
    trip = person.trips[number % len(person.trips)]
    path = f"{TRIPS}/{trip}"
    if action == "spend":
        answer = rest.post(EXPENSES, new_expense(trip))
        if answer.status_code == 201:
            person.expenses.append(answer.json()["id"])
        return
    doing: dict[str, Callable[[], Any]] = {
        "rename": lambda: rest.patch(path, {"title": f"{number} of {person.id}"}),
        "delete": lambda: rest.delete(path),
        "read": lambda: rest.get(path),
        "list": lambda: rest.get(EXPENSES, {"tripId": trip}),
    }
    answer = doing.get(action, lambda: rest.post(f"{path}/{action}"))()
    assert answer.status_code < 500, answer.text


def act_all(person: Person, queue: list[tuple[str, int]]) -> None:
    """Do one thing after the other."""
    for action, number in queue:
        act(person, action, number)


def ids_in(rest: Rest, path: str, plural: str) -> set[str]:
    """The ids that a list shows, deleted ones included."""
    found: set[str] = set()
    token = ""
    while True:
        page = rest.get(path, {"pageSize": 200, "showDeleted": True, "pageToken": token}).json()
        found |= {each["id"] for each in page[plural]}
        token = page["nextPageToken"]
        if not token:
            return found


def subjects(frames: list[sse.Frame]) -> set[str]:
    """The trips and expenses that events are about. Of the tenant itself a member may be told too."""
    return {frame.data["id"] for frame in frames if frame.event.startswith(("trip.", "expense."))}


def until_marked(reader: sse.Reader, mark: str) -> list[sse.Frame]:
    """The events up to the creation of a trip."""
    found: list[sse.Frame] = []
    while not found or found[-1].data["id"] != mark:
        found += reader.events(1)
    return found


# An example takes a second or two.
@settings(max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(doing=steps)
def test_whatever_is_done_nothing_of_one_user_comes_to_another(
    people: list[Person], hooks: Receiver, doing: list[tuple[int, str, int]]
) -> None:
    starts = [sse.position(person.tenant) for person in people]
    with ExitStack() as stack:
        readers = [stack.enter_context(listening(person.tenant, person.token)) for person in people]
        queues = [[(action, number) for who, action, number in doing if who == place] for place in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(act_all, people, queues))
        marks = [made(person.rest, TRIPS, new_trip(f"of {person.id}"))["id"] for person in people]
        for person, mark in zip(people, marks, strict=True):
            person.trips.append(mark)
        lives = [until_marked(reader, mark) for reader, mark in zip(readers, marks, strict=True)]
    for person, start, mark, live in zip(people, starts, marks, lives, strict=True):
        assert subjects(live) <= person.own
        with listening(person.tenant, person.token, last=start) as reader:
            resumed = until_marked(reader, mark)
        # What was committed before the stream began may be told of by the one or the other.
        assert subjects(resumed) == subjects(live)
        assert ids_in(person.rest, TRIPS, "trips") == {*person.trips}
        assert ids_in(person.rest, EXPENSES, "expenses") == {*person.expenses}
        others = {each for one in people if one is not person for each in one.own}
        for other in [*others][:5]:
            assert [person.rest.get(f"{path}/{other}").status_code for path in (TRIPS, EXPENSES)] == [404, 404]
        exported = person.rest.get("gdpr/export").text
        assert all(each in exported for each in person.own)
        assert not any(each in exported for each in others)
    check_hooks(people, hooks)


def check_hooks(people: list[Person], hooks: Receiver) -> None:
    """What names no type gets nothing of a user; what names trips gets those of its own tenant, and no expenses."""
    for number in range(2):
        tenant = people[2 * number : 2 * number + 2]
        expected = {trip for person in tenant for trip in person.trips}
        path = f"/trips/{number}"
        wait_for(lambda: expected <= {each.subject for each in hooks.messages(path)}, what="the last trips")  # noqa: B023
        assert {each.subject for each in hooks.messages(path)} == expected
        told = {each.content["type"].partition(".")[0] for each in hooks.messages(f"/everything/{number}")}
        assert not told & {"trip", "expense"}
