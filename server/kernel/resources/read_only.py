"""Output-only and immutable fields (AIP-203). A request may repeat their current values; any other value is refused.

AIP-203 ignores sent values, so that a resource that was read can be sent back whole. Plinth ignores unchanged values
only: to ignore a change would answer OK to something that was not done.
"""

from collections.abc import Collection

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from plinth.policy.v1 import policy_pb2

from server.kernel.messages.fields import fields_that_are, is_set, option_of
from server.kernel.problems import Violation


class ReadOnlyFields:
    """The output-only fields of one resource."""

    def __init__(self, message: Descriptor, singular: str) -> None:
        """`singular` is the name of the resource in requests, which violations include."""
        self._fields = fields_that_are(message, field_behavior_pb2.OUTPUT_ONLY)
        self._singular = singular
        self.names = frozenset(field.name for field in self._fields)

    def set_in(self, message: Message) -> list[str]:
        """The names of the output-only fields that a message sets."""
        return [field.name for field in self._fields if is_set(message, field)]

    def clear(self, message: Message) -> None:
        """Clear these fields in a message."""
        for field in self._fields:
            message.ClearField(field.name)

    def changed(self, sent: Message, known: Message, names: Collection[str]) -> list[str]:
        """The output-only fields among `names` in which `sent` differs from `known`."""
        return [field.name for field in self._fields if field.name in names and _differs(sent, known, field)]

    def violations(self, names: Collection[str]) -> list[Violation]:
        """The violations of changing these fields."""
        return [
            Violation(f"{self._singular}.{field.name}", _description(field), "read_only")
            for field in self._fields
            if field.name in names
        ]


class ImmutableFields:
    """The fields of one resource that keep the value it was created with, unless an RPC of their own sets them."""

    def __init__(self, message: Descriptor, singular: str) -> None:
        """`singular` is the name of the resource in requests, which violations include."""
        self._fields = fields_that_are(message, field_behavior_pb2.IMMUTABLE)
        self._singular = singular

    def violations(self, message: Message, before: Message, rpc: str) -> list[Violation]:
        """A violation for each field in which an update by an RPC differs from the stored resource."""
        return [
            Violation(f"{self._singular}.{field.name}", "cannot be changed", "immutable")
            for field in self._fields
            if _differs(message, before, field) and rpc not in option_of(field, policy_pb2.set_by)
        ]


def _differs(sent: Message, known: Message, field: FieldDescriptor) -> bool:
    return is_set(sent, field) != is_set(known, field) or getattr(sent, field.name) != getattr(known, field.name)


def _description(field: FieldDescriptor) -> str:
    setters = option_of(field, policy_pb2.set_by)
    way = f"use {' or '.join(setters)}" if setters else "leave it out, or send it as it is"
    return f"is read only; {way}"
