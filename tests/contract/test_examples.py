"""Examples of fields: each keeps the rules of its field, and filters and orders are those of their resource."""

from collections.abc import Iterator

import protovalidate
import pytest
from buf.validate import validate_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from server import app
from server.kernel.messages.fields import FieldValue, option_of
from server.kernel.policy import Access, Binding, MethodPolicy
from tests.contract import wall
from tests.contract.doors import rest_parts
from tests.contract.wall import House
from tests.stack import Stack

LISTS = [
    (method, binding)
    for method in app.policies().values()
    if method.access is Access.PERMISSION
    and method.read_only
    and "filter" in method.descriptor.input_type.fields_by_name
    for binding in method.bindings
    if binding.verb == "GET"
]


def examples_of(field: FieldDescriptor) -> list[FieldValue]:
    """The examples that a field declares, or its items."""
    rules = option_of(field, validate_pb2.field)
    if rules.WhichOneof("type") == "repeated":
        rules = rules.repeated.items
    kind = rules.WhichOneof("type")
    return list(getattr(rules, kind).example) if kind in {"string", "int32"} else []


def fields() -> Iterator[tuple[Descriptor, FieldDescriptor]]:
    """Every field that a request contains, with its message."""
    waiting = [method.descriptor.input_type for method in app.policies().values()]
    seen: set[str] = set()
    while waiting:
        message: Descriptor = waiting.pop()
        if message.full_name in seen or not message.full_name.startswith("plinth."):
            continue
        seen.add(message.full_name)
        yield from ((message, field) for field in message.fields)
        waiting += [field.message_type for field in message.fields if field.message_type is not None]


@pytest.fixture(scope="module")
def house(stack: Stack) -> House:
    return wall.furnished(stack)


def test_every_example_keeps_the_rules_of_its_field() -> None:
    tried = 0
    for descriptor, field in fields():
        for example in examples_of(field):
            message = message_factory.GetMessageClass(descriptor)()
            if field.is_repeated:
                getattr(message, field.name).append(example)
            else:
                setattr(message, field.name, example)
            found = protovalidate.collect_violations(message)
            broken = [each.proto.message for each in found if each.proto.field.elements[0].field_name == field.name]
            assert broken == [], field.full_name
            tried += 1
    assert tried > 80


@pytest.mark.parametrize(("method", "binding"), LISTS, ids=lambda one: getattr(one, "path", None))
def test_filters_and_orders_are_taken_as_their_examples_show_them(
    house: House, method: MethodPolicy, binding: Binding
) -> None:
    path, query, _ = rest_parts(binding, house.request(method))
    known = method.descriptor.input_type.fields_by_name
    shown = {name: examples_of(known[name])[0] for name in ("filter", "order_by") if name in known}
    answer = house.tenant.rest.get(path, {**query, **shown})
    assert answer.status_code == 200, answer.text
