"""What messages and descriptors hold, for code that learns at run time of which type it is.

The stubs of protobuf say `Descriptor` as a union over its implementations, and do not say what an extension holds
(server/extensions.py does, of those that are messages).
"""

from typing import Any, Protocol, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

FieldValue = Any
"""The value of a field, of the type that its descriptor says."""


class Described(Protocol):
    """What carries options: a message, a field, an enum, a service, a method."""

    def GetOptions(self) -> Message:  # noqa: N802 - protobuf's name
        """The options in its .proto."""


def descriptor_of(message: Message | type[Message]) -> Descriptor:
    """The descriptor of a message or of its class."""
    return cast("Descriptor", message.DESCRIPTOR)


def value_of(message: Message, name: str) -> FieldValue:
    """The value of a field. Raises AttributeError where there is none of this name."""
    return getattr(message, name)


def option_of(described: Described, extension: object) -> FieldValue:
    """An option that an extension declares; its default where it is not set."""
    options: Any = described.GetOptions()
    return options.Extensions[extension]


def message_type_of(field: FieldDescriptor) -> Descriptor:
    """The message that a field holds. Raises LookupError when it holds none."""
    if field.message_type is None:
        raise LookupError(f"{field.full_name} holds no message")
    return field.message_type
