"""Blanking: fields marked `personal` are cleared in the messages of a person, wherever those stand in a payload."""

from collections.abc import Iterable
from functools import lru_cache

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from plinth.policy.v1 import policy_pb2

from server.kernel.messages.fields import FieldValue, descriptor_of, message_type_of, option_of
from server.kernel.privacy.erasure import Person

NAMES = ("id", "user_id", "owner_id")
"""Fields that say whose a message is."""


def blanked(message_type: str, payload: bytes, person: Person, *, is_theirs: bool) -> bytes:
    """The payload without what is personal of a person.

    With `is_theirs`, all of it belongs to the person. Otherwise that is said of a message by its id, and by the id of
    its owner. A payload that nobody can read any more is emptied.
    """
    try:
        found = descriptor_pool.Default().FindMessageTypeByName(message_type)
        message = message_factory.GetMessageClass(found).FromString(payload)
    except (KeyError, DecodeError):
        return b""
    _blank(message, person, is_theirs=is_theirs)
    return message.SerializeToString()


def _blank(message: Message, person: Person, *, is_theirs: bool) -> None:
    personal, below = _plan(descriptor_of(message))
    mine = is_theirs or any(getattr(message, name, None) == person.id for name in NAMES)
    for field in personal:
        if mine or _tells_address(getattr(message, field.name), person):
            message.ClearField(field.name)
    for field in below:
        for part in _parts(message, field):
            _blank(part, person, is_theirs=mine)


def _tells_address(value: FieldValue, person: Person) -> bool:
    """Whether somebody else's message holds the person's address, such as that of a sign-up with it."""
    return bool(person.email) and isinstance(value, str) and value.lower() == person.email.lower()


@lru_cache(maxsize=1024)
def _plan(descriptor: Descriptor) -> tuple[tuple[FieldDescriptor, ...], tuple[FieldDescriptor, ...]]:
    """The personal fields, and the other ones that hold messages."""
    personal = tuple(field for field in descriptor.fields if option_of(field, policy_pb2.personal))
    below = (field for field in descriptor.fields if field not in personal and field.message_type is not None)
    return personal, tuple(below)


def _parts(message: Message, field: FieldDescriptor) -> Iterable[Message]:
    """The messages in a field: one, several, or the values of a map."""
    value: FieldValue = getattr(message, field.name)
    below = message_type_of(field)
    if below.GetOptions().map_entry:
        held = below.fields_by_name["value"].message_type is not None
        return list(value.values()) if held else []
    if field.is_repeated:
        return list(value)
    return [value] if message.HasField(field.name) else []
