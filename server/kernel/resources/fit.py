"""Fit: what a Resource declares about fields is true of its message and its table, or the server must not start."""

from collections.abc import Iterator

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor

from server.kernel.messages.fields import descriptor_of, fields_that_are, has_behavior
from server.kernel.resources.resource import AnyResource, Shown

_FIXED = (field_behavior_pb2.OUTPUT_ONLY, field_behavior_pb2.IMMUTABLE)
_INTEGERS = (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64)


def declaration_faults(resource: AnyResource) -> Iterator[str]:
    """Declarations that do not fit, each with the remedy."""
    fields = descriptor_of(resource.message).fields_by_name
    declared = {"owner": resource.owner, "order": resource.order, "number": resource.number}
    if resource.parent is not None:
        declared["parent"] = resource.parent.field
    if resource.states is not None:
        declared["states"] = resource.states.field
    if resource.tree is not None:
        declared["tree"] = resource.tree.field
    if resource.shown is not None:
        declared["shown"] = resource.shown.field
    yield from _faults_of_kind(resource)
    for what, name in declared.items():
        if not name:
            continue
        where = f"Resource({what}=...) of {resource.message.DESCRIPTOR.full_name}"
        if name not in fields:
            yield f"{where} names the field `{name}`, which the message does not have"
        elif name not in resource.table.c:
            yield f"{where} names `{name}`, and `{resource.table.name}` has no column of that name: add one"
        else:
            yield from (f"{where} names `{name}`, which {fault}" for fault in _faults(what, fields[name]))


def _faults_of_kind(resource: AnyResource) -> Iterator[str]:
    name = resource.message.DESCRIPTOR.full_name
    if resource.order and not resource.most:
        yield f"{name} has an order of any number: bound it with Resource(most=...)"
    if resource.shown is not None:
        yield from _faults_of_shown(resource, resource.shown)
    if resource.singleton:
        yield from _faults_of_singleton(resource)


def _faults_of_shown(resource: AnyResource, shown: Shown) -> Iterator[str]:
    """What is shown are values that there are."""
    name, field = resource.message.DESCRIPTOR.full_name, descriptor_of(resource.message).fields_by_name.get(shown.field)
    if not shown.values:
        yield f"{name} is shown to everyone in no state: name some in Shown(values=...)"
    if field is not None and field.enum_type is not None:
        unknown = sorted({*shown.values} - {*field.enum_type.values_by_number})
        if unknown:
            yield f"{name} is shown to everyone in the states {unknown}, which `{shown.field}` does not have"


def _faults_of_singleton(resource: AnyResource) -> Iterator[str]:
    """Every tenant, user or parent has one from the beginning, and it stays."""
    name, descriptor = resource.message.DESCRIPTOR.full_name, descriptor_of(resource.message)
    holder = "user" if resource.owner else "parent" if resource.parent else "tenant"
    for field in fields_that_are(descriptor, field_behavior_pb2.REQUIRED):
        yield f"{name} is one per {holder}, who has it before `{field.name}` is set: it cannot be REQUIRED"
    if resource.is_one_per_tenant and "tenant_id" not in descriptor.fields_by_name:
        yield f"{name} is one per tenant, and does not say of which: add the field `tenant_id`"
    if resource.soft_deletes:
        yield f"{name} is one per {holder}, and cannot be restored: drop the column `delete_time`"
    if resource.order or resource.most or resource.number:
        yield f"{name} is one per {holder}: drop `order`, `most` and `number`"
    if resource.parent and resource.owner:
        yield f"{name} is one per parent, or one per user: drop `parent` or `owner`"


def _faults(what: str, field: FieldDescriptor) -> Iterator[str]:
    if what in ("owner", "order", "number") and not has_behavior(field, field_behavior_pb2.OUTPUT_ONLY):
        yield "callers do not set: mark it OUTPUT_ONLY"
    if what == "parent" and not any(has_behavior(field, each) for each in _FIXED):
        yield "stays as it was created: mark it IMMUTABLE, or OUTPUT_ONLY where the path names it"
    if what in ("order", "number") and field.type not in _INTEGERS:
        yield "counts: make it int32"
    if what in ("owner", "parent", "tree") and field.type != FieldDescriptor.TYPE_STRING:
        yield "holds an id: make it a string"
    if what in ("states", "shown") and field.enum_type is None:
        yield "holds a state: make it an enum"
