"""What people own and everyone sees in some states: others see it then, and change it never.

A member who holds the permission `Resource.seen_by` sees and changes everything.
"""

import grpc
import pytest
from google.protobuf.message import Message

from server import app
from server.kernel.policy import Access, Kind, MethodPolicy
from server.kernel.resources.resource import EVERYONE
from tests.contract import owned, wall
from tests.contract.instances import Named
from tests.contract.test_owner_wall import Members, caller_of, channel, members, name_of, through_both_doors
from tests.contract.wall import INSTANCES, House

__all__ = ["channel", "members"]

METHODS = [
    method for method in app.policies().values() if method.access is Access.PERMISSION and owned.is_shown(method)
]
SERVICES = sorted(owned.SHOWN)
NAMING = [method for method in METHODS if method.kind is not Kind.LIST and wall.identifying(method)]
READS = [method for method in NAMING if method.read_only]
CHANGES = [method for method in NAMING if not method.read_only]
# What others do with what somebody wrote.
OPEN = {
    *(f"/plinth.stories.v1.StoryCommentService/{name}StoryComment" for name in ("Create", "VoteOn", "WithdrawVoteOn")),
}


def resource_name(method: MethodPolicy) -> str:
    return str(method.descriptor.containing_service.full_name).removesuffix("Service")


def unshown(house: House, name: str) -> Named:
    make = INSTANCES[name].unshown
    assert make is not None, f"{name} is shown to others in some states: declare one that is not as Instance(unshown=)"
    return make(house.tenant)


def request_for(method: MethodPolicy, named: Named, house: House) -> Message:
    """A request about one that is named, without an ETag."""
    paths = {path for path in wall.identifying(method) if path in named}
    return house.request(method, {path: named[path] for path in paths})


def test_every_resource_of_this_kind_is_tried() -> None:
    assert SERVICES
    assert {*map(resource_name, READS)} == {name.removesuffix("Service") for name in SERVICES}
    for service in SERVICES:
        assert INSTANCES[service.removesuffix("Service")].unshown is not None


@pytest.mark.parametrize("method", READS, ids=name_of)
def test_others_see_what_is_shown(channel: grpc.Channel, members: Members, method: MethodPolicy) -> None:
    named = members.mine.made[resource_name(method)]
    for outcome in through_both_doors(channel, members.peer, method, request_for(method, named, members.mine)):
        assert outcome.problem is None, outcome


@pytest.mark.parametrize("method", NAMING, ids=name_of)
def test_what_is_not_shown_is_found_by_its_owner_alone(
    channel: grpc.Channel, members: Members, method: MethodPolicy
) -> None:
    named = unshown(members.mine, resource_name(method))
    request = request_for(method, named, members.mine)
    for house in (members.mine, members.seer) if method.read_only else ():
        assert caller_of(channel, house).call(method, request).problem is None
    for outcome in through_both_doors(channel, members.peer, method, request):
        assert outcome.problem is not None, outcome
        assert outcome.problem.reason == "RESOURCE_NOT_FOUND", outcome


@pytest.mark.parametrize("method", [each for each in CHANGES if each.path not in OPEN], ids=name_of)
def test_others_do_not_change_what_they_see(channel: grpc.Channel, members: Members, method: MethodPolicy) -> None:
    named = members.mine.made[resource_name(method)]
    for outcome in through_both_doors(channel, members.peer, method, request_for(method, named, members.mine)):
        assert outcome.problem is not None, outcome
        if not {*wall.identifying(method)} & {*wall.own_resources(method)}:
            # What names the parent alone has to reach it.
            assert outcome.problem.reason == "RESOURCE_NOT_FOUND", outcome
            continue
        found = (outcome.problem.reason, outcome.problem.metadata.get("permission"))
        assert found == ("PERMISSION_MISSING", owned.RESOURCES[f"{resource_name(method)}Service"].seen_by), outcome


@pytest.mark.parametrize("service", SERVICES)
def test_lists_have_what_is_shown_and_the_caller_s_own(channel: grpc.Channel, members: Members, service: str) -> None:
    [method] = [each for each in METHODS if each.path.startswith(f"/{service}/") and each.kind is Kind.LIST]
    name = service.removesuffix("Service")
    shown, hidden = members.mine.made[name], unshown(members.mine, name)
    key = next(field for field in shown if wall.own_resources(method).get(field) == name)
    takes_owner = owned.RESOURCES[service].owner in method.descriptor.input_type.fields_by_name
    for house, is_found in ((members.peer, False), (members.mine, True), (members.seer, True)):
        for named, expected in ((shown, True), (hidden, is_found)):
            everyone = {owned.RESOURCES[service].owner: EVERYONE} if takes_owner else {}
            request = house.request(method, {**_parent(method, named), **everyone, "page_size": 200})
            for outcome in through_both_doors(channel, house, method, request):
                found = outcome.content.decode(errors="replace")
                assert (named[key] in found) is expected, outcome


def _parent(method: MethodPolicy, named: Named) -> dict[str, str]:
    """What the list of a child names."""
    return {path: named[path] for path in wall.identifying(method) if path in named}
