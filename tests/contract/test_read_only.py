"""Output-only fields of every resource: nobody writes them, and what was read can be sent back. Through both doors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.api import field_behavior_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money
from plinth.policy.v1 import policy_pb2

from server import app
from server.kernel.policy import Access, Kind, MethodPolicy
from server.kernel.resources.read_only import ReadOnlyFields
from server.kernel.steps.json_names import camel
from tests.clients import Problem, Rest, unique
from tests.contract import doors, owned, wall
from tests.contract.test_audit import events_by_request
from tests.contract.wall import House
from tests.domains.audit.planting import stored_by_request
from tests.domains.platform import new_platform_admin
from tests.stack import Stack

METHODS = app.policies()
UPDATES = [method for method in METHODS.values() if method.kind is Kind.UPDATE]
CREATES = [method for method in METHODS.values() if method.kind is Kind.CREATE]
DOORS = ("rest", "grpc")
# Values of messages, of which one at least is another than what is there.
OTHERS: dict[str, list[Any]] = {
    "google.protobuf.Timestamp": [Timestamp(seconds=978307200), Timestamp(seconds=978307201)],
    "google.type.Date": [Date(year=2001, month=1, day=1), Date(year=2001, month=1, day=2)],
    "google.type.Money": [Money(currency_code="EUR", units=1), Money(currency_code="EUR", units=2)],
}


@dataclass(frozen=True)
class Writer:
    """Writes one resource of a house, through one door."""

    house: House
    method: MethodPolicy
    door: str
    channel: grpc.Channel
    token: str

    @property
    def body(self) -> str:
        """The field of the request that holds the resource."""
        return self.method.bindings[0].body

    @property
    def fields(self) -> ReadOnlyFields:
        """What is read only in it."""
        return ReadOnlyFields(self.resource_class.DESCRIPTOR, self.body)

    @property
    def resource_class(self) -> Any:
        """The message of the resource."""
        return GetMessageClass(self.method.descriptor.output_type)

    def read(self) -> Any:
        """The resource as Get answers it."""
        service = self.method.path.rpartition("/")[0]
        get = METHODS[f"{service}/{self.method.name.replace('Update', 'Get')}"]
        outcome = doors.Grpc(self.channel, self.token).call(get, self.house.request(get))
        assert outcome.problem is None, outcome.problem
        return self.resource_class.FromString(outcome.content)

    def write(self, resource: Message, mask: list[str] | None = None, request_id: str = "") -> Problem | None:
        """Send a resource. Over gRPC the mask is sent; over REST its keys are those of the body."""
        request: Any = self.house.request(self.method)
        getattr(request, self.body).CopyFrom(resource)
        named = {"x_request_id": request_id or unique("write")}
        if self.door == "grpc":
            if mask:
                request.update_mask.paths.extend(mask)
            return doors.Grpc(self.channel, self.token).call(self.method, request, **named).problem
        headers = {"x-request-id": named["x_request_id"]}
        rest = Rest(self.house.tenant.stack, self.token)
        return doors.over_rest(rest, self.method.bindings[0], request, headers).problem


@pytest.fixture(scope="module")
def house(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def platform(stack: Stack) -> str:
    return new_platform_admin(stack).access_token


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with doors.channel(stack) as opened:
        yield opened


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=UPDATES, ids=lambda method: method.name)
def writer(request: pytest.FixtureRequest, house: House, channel: grpc.Channel, door: str, platform: str) -> Writer:
    """Each Update, through each door."""
    method: MethodPolicy = request.param
    token = platform if method.access is Access.PLATFORM else house.tenant.access_token
    return Writer(house, method, door, channel, token)


@pytest.fixture(params=CREATES, ids=lambda method: method.name)
def creator(request: pytest.FixtureRequest, house: House, channel: grpc.Channel, door: str, platform: str) -> Writer:
    """Each Create, through each door."""
    method: MethodPolicy = request.param
    token = platform if method.access is Access.PLATFORM else house.tenant.access_token
    return Writer(house, method, door, channel, token)


def another(field: Any, value: Any) -> Any:
    """A value of a field beside this one, which is not its default."""
    if field.message_type is not None:
        others = OTHERS.get(field.message_type.full_name) or [_message_with_text(field.message_type)]
        one = next(one for one in others if one != value)
        return [one] if field.is_repeated else one
    if field.enum_type is not None:
        return next(one.number for one in field.enum_type.values if one.number not in (0, value))
    if field.is_repeated:
        return [*value, doors.ZERO_ID if field.type == FieldDescriptor.TYPE_STRING else 7]
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_STRING:
        return doors.ZERO_ID
    return value + 1


def _message_with_text(descriptor: Any) -> Message:
    """A message of which the first text is set."""
    name = next(field.name for field in descriptor.fields if field.type == FieldDescriptor.TYPE_STRING)
    message: Message = GetMessageClass(descriptor)(**{name: doors.ZERO_ID})
    return message


def with_value(writer: Writer, name: str, value: Any) -> Message:
    """A resource with one field set."""
    resource: Message = writer.resource_class(**{name: value})
    return resource


def names_parent(writer: Writer, name: str) -> bool:
    """Whether a new resource gets this field from its request, which names what it belongs to."""
    resource = owned.resource_of(writer.method)
    is_parent = resource is not None and resource.parent is not None and resource.parent.field == name
    return (
        is_parent and writer.method.kind is Kind.CREATE and name in writer.method.descriptor.input_type.fields_by_name
    )


def check_refusal(writer: Writer, problem: Problem | None, name: str) -> None:
    """A refusal that names the field, over REST as in the body, and the RPCs that set it."""
    assert problem is not None, name
    assert problem.reason == "RULE_VIOLATED", problem
    assert {*problem.violations} <= {f"{writer.body}.{name}", camel(name), name}, problem
    if names_parent(writer, name):
        assert problem.rules == ("parent.same",)
        return
    assert problem.rules == ("read_only",)
    field: Any = writer.resource_class.DESCRIPTOR.fields_by_name[name]
    ((description,),) = problem.violations.values()
    assert description.startswith("is read only; ")
    for rpc in field.GetOptions().Extensions[policy_pb2.set_by]:
        assert rpc in description


def test_no_update_changes_what_is_read_only(stack: Stack, writer: Writer) -> None:
    before = writer.read()
    fields: Any = before.DESCRIPTOR.fields_by_name
    # What belongs to a tenant also says to which.
    assert len(writer.fields.names) > (2 if wall.is_shared(writer.method) else 3)
    asked = []
    for name in sorted(writer.fields.names):
        value = another(fields[name], getattr(before, name))
        for mask in ([name], None):
            asked.append(unique(name))
            check_refusal(writer, writer.write(with_value(writer, name, value), mask, asked[-1]), name)
    assert writer.read() == before
    assert events_by_request(stack, asked) == []


def immutable_of(message: Any) -> list[Any]:
    """The fields of a resource that keep the value it was created with."""
    behaviors = field_behavior_pb2.field_behavior
    return [
        field for field in message.fields if field_behavior_pb2.IMMUTABLE in field.GetOptions().Extensions[behaviors]
    ]


def test_no_update_changes_what_is_immutable(stack: Stack, writer: Writer) -> None:
    before, asked = writer.read(), []
    for field in immutable_of(before.DESCRIPTOR):
        body = wall.INSTANCES[before.DESCRIPTOR.full_name].body
        assert body is not None, f"{before.DESCRIPTOR.full_name} has no body in its instance"
        new: Any = writer.resource_class()
        json_format.ParseDict(body(), new)
        value, known = getattr(new, field.name), getattr(before, field.name)
        is_another = value not in (known, field.default_value) and field.enum_type is None
        value = value if is_another else another(field, known)
        for mask in ([field.name], None):
            asked.append(unique(field.name))
            problem = writer.write(with_value(writer, field.name, value), mask, asked[-1])
            assert problem is not None, field.full_name
            assert (problem.reason, problem.rules) == ("RULE_VIOLATED", ("immutable",)), problem
            assert {*problem.violations} <= {f"{writer.body}.{field.name}", camel(field.name), field.name}, problem
    assert writer.read() == before
    assert events_by_request(stack, asked) == []


def test_some_fields_are_immutable() -> None:
    resources = [method.descriptor.output_type for method in UPDATES]
    assert {field.full_name for resource in resources for field in immutable_of(resource)} >= {
        "plinth.tenancy.v1.Role.name",
        "plinth.webhooks.v1.Webhook.signature_scheme",
    }


def test_no_mask_clears_what_is_read_only(house: House, channel: grpc.Channel, platform: str) -> None:
    for method in UPDATES:
        token = platform if method.access is Access.PLATFORM else house.tenant.access_token
        writer = Writer(house, method, "grpc", channel, token)
        before = writer.read()
        for name in writer.fields.set_in(before):
            check_refusal(writer, writer.write(writer.resource_class(), [name]), name)
        assert writer.read() == before


def test_what_was_read_can_be_sent_back_and_leaves_nothing(stack: Stack, writer: Writer) -> None:
    before = writer.read()
    asked = [unique("back") for _ in range(4)]
    bare = type(before)()
    bare.CopyFrom(before)
    bare.ClearField("etag")
    writes = [(before, None), (before, ["*"]), (bare, sorted(field.name for field, _ in bare.ListFields()))]
    for (resource, mask), request_id in zip(writes, asked, strict=False):
        assert writer.write(resource, mask, request_id) is None
    assert writer.write(writer.resource_class(), None, asked[-1]) is None
    assert writer.read() == before
    assert events_by_request(stack, asked) == []
    assert stored_by_request(stack, asked) == []


def test_no_create_sets_what_is_read_only(stack: Stack, creator: Writer) -> None:
    asked = []
    for name in sorted(creator.fields.names):
        request: Any = creator.house.request(creator.method)
        resource = getattr(request, creator.body)
        fill_required(creator, resource)
        field: Any = resource.DESCRIPTOR.fields_by_name[name]
        value = another(field, getattr(resource, name))
        if field.enum_type is not None:
            value = max(one.number for one in field.enum_type.values)
        resource.MergeFrom(with_value(creator, name, value))
        asked.append(unique(name))
        check_refusal(creator, creator.write(resource, None, asked[-1]), name)
    assert events_by_request(stack, asked) == []


def fill_required(creator: Writer, resource: Any) -> None:
    """What a new one needs beyond what a house gives it."""
    needed = {"tenant": {"subdomain": unique("t")}, "ip_block": {"network": "198.51.100.7"}}
    json_format.ParseDict(needed.get(creator.body, {}), resource)


def test_what_sets_a_field_is_an_rpc_of_its_package() -> None:
    named = {method.path.rpartition("/")[0].rpartition(".")[0] + method.name for method in METHODS.values()}
    for method in (*UPDATES, *CREATES):
        package = method.path.rpartition("/")[0].rpartition(".")[0]
        message: Any = method.descriptor.output_type
        for field in message.fields:
            setters = field.GetOptions().Extensions[policy_pb2.set_by]
            assert {package + setter for setter in setters} <= named, field.full_name
            is_fixed = wall.behaves(field, field_behavior_pb2.IMMUTABLE)
            assert not setters or is_fixed or field.name in ReadOnlyFields(message, "").names
