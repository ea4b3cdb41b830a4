"""Typed access to messages and descriptors, for code that learns their type at run time.

The stubs of protobuf define `Descriptor` as a union of its implementations, and give no types for the values of
extensions (server/extensions.py does so for those that are messages).
"""

from typing import Any, Protocol, cast

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

FieldValue = Any
"""The value of a field, of the type that its descriptor declares."""


class Described(Protocol):
    """A descriptor with options: of a message, a field, an enum, a service or a method."""

    def GetOptions(self) -> Message:  # noqa: N802 - protobuf's name
        """The options in its .proto."""


def descriptor_of(message: Message | type[Message]) -> Descriptor:
    """The descriptor of a message or of its class."""
    return cast("Descriptor", message.DESCRIPTOR)


def value_of(message: Message, name: str) -> FieldValue:
    """The value of a field. Raises AttributeError if there is no field of this name."""
    return getattr(message, name)


def option_of(described: Described, extension: object) -> FieldValue:
    """The value of an option that an extension declares, or its default."""
    options: Any = described.GetOptions()
    return options.Extensions[extension]


def has_behavior(field: FieldDescriptor, behavior: int) -> bool:
    """Whether a field has a behavior (AIP-203), such as REQUIRED."""
    return behavior in option_of(field, field_behavior_pb2.field_behavior)


def fields_that_are(descriptor: Descriptor, behavior: int) -> tuple[FieldDescriptor, ...]:
    """The fields of a message with this behavior."""
    return tuple(field for field in descriptor.fields if has_behavior(field, behavior))


def is_set(message: Message, field: FieldDescriptor) -> bool:
    """Whether a field has a value: a field with presence is set, any other field is not empty."""
    return message.HasField(field.name) if field.has_presence else bool(getattr(message, field.name))


def message_type_of(field: FieldDescriptor) -> Descriptor:
    """The message type of a field. Raises LookupError for a field of another type."""
    if field.message_type is None:
        raise LookupError(f"{field.full_name} holds no message")
    return field.message_type


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """The enum of a field. Raises LookupError for a field of another type."""
    if field.enum_type is None:
        raise LookupError(f"{field.full_name} holds no enum")
    return field.enum_type


def enum_values(enum: EnumDescriptor) -> dict[str, int]:
    """The values of an enum by name, in their order."""
    return {value.name: value.number for value in enum.values}
