"""Redaction: fields marked `debug_redact` in the .proto never appear in an event, an audit row or a log."""

from collections.abc import Iterable
from functools import lru_cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from server.kernel.messages.fields import FieldValue, descriptor_of, message_type_of


def redacted(message: Message) -> Message:
    """The message itself if its type has no redacted field, else a copy without these fields."""
    if not _hides(descriptor_of(message)):
        return message
    copy = type(message)()
    copy.CopyFrom(message)
    _clear(copy)
    return copy


@lru_cache(maxsize=1024)
def _hides(descriptor: Descriptor) -> bool:
    """Whether a message of this type, or one below it, has a redacted field."""
    seen: set[str] = set()
    waiting = [descriptor]
    while waiting:
        current = waiting.pop()
        if current.full_name in seen:
            continue
        seen.add(current.full_name)
        if any(field.GetOptions().debug_redact for field in current.fields):
            return True
        waiting.extend(field.message_type for field in current.fields if field.message_type is not None)
    return False


@lru_cache(maxsize=1024)
def _plan(descriptor: Descriptor) -> tuple[tuple[str, ...], tuple[FieldDescriptor, ...]]:
    """The names of the fields to clear, and the fields to descend into."""
    hidden = tuple(field.name for field in descriptor.fields if field.GetOptions().debug_redact)
    below = (field for field in descriptor.fields if field.name not in hidden and field.message_type is not None)
    return hidden, tuple(field for field in below if _hides(message_type_of(field)))


def _clear(message: Message) -> None:
    hidden, below = _plan(descriptor_of(message))
    for name in hidden:
        message.ClearField(name)
    for field in below:
        for part in _parts(message, field):
            _clear(part)


def _parts(message: Message, field: FieldDescriptor) -> Iterable[Message]:
    """The messages in a field: one, several, or the values of a map."""
    value: FieldValue = getattr(message, field.name)
    parts: Iterable[Message]
    if message_type_of(field).GetOptions().map_entry:
        parts = value.values()
    elif field.is_repeated:
        parts = value
    else:
        parts = [value] if message.HasField(field.name) else []
    return parts
