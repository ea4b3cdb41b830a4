"""Redaction: what is marked `debug_redact` in the .proto never leaves in an event, an audit row or a log."""

from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message


def redacted(message: Message) -> Message:
    """The message itself when its type has nothing to hide, else a copy without what is to be hidden."""
    if not _hides(message.DESCRIPTOR):
        return message
    copy = type(message)()
    copy.CopyFrom(message)
    _clear(copy)
    return copy


@lru_cache(maxsize=1024)
def _hides(descriptor: Descriptor) -> bool:
    """Whether a message of this type, or one below it, has something to hide."""
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
    """Names of the fields to clear, and the fields to go into."""
    hidden = tuple(field.name for field in descriptor.fields if field.GetOptions().debug_redact)
    fields: Any = descriptor.fields
    below = [field for field in fields if field.name not in hidden and field.message_type is not None]
    return hidden, tuple(field for field in below if _hides(field.message_type))


def _clear(message: Any) -> None:
    hidden, below = _plan(message.DESCRIPTOR)
    for name in hidden:
        message.ClearField(name)
    for field in below:
        for part in _parts(message, field):
            _clear(part)


def _parts(message: Any, field: FieldDescriptor) -> Any:
    """The messages that a field holds: one, many, or the values of a map."""
    value = getattr(message, field.name)
    entry: Any = field.message_type
    if entry.GetOptions().map_entry:
        return value.values()
    if field.is_repeated:
        return value
    return [value] if message.HasField(field.name) else []
