"""What a tool answers as text of a bounded length. A model reads all of it, and pays for all of it."""

import json
from collections.abc import Mapping

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from plinth.client.errors import PlinthError
from plinth.client.json_messages import json_of

from server.json_values import JsonValue

MOST_CHARACTERS = 40_000
"""Of one answer: about 10,000 tokens."""
_ELLIPSIS = "… [{} more characters]"
# Texts are shortened in these steps, until the answer fits.
_LONGEST_TEXTS = (4_000, 1_000, 200, 40)


def text_of(answer: Message, least: int = 0) -> str | None:
    """An answer as JSON without its secret fields.

    The texts of a long answer are shortened, to no fewer than `least` characters. None if it is still too long.
    """
    shown = json_of(without_secrets(answer))
    for longest in (None, *(longest for longest in _LONGEST_TEXTS if longest >= least)):
        text = compact(shown if longest is None else _shortened(shown, longest))
        if len(text) <= MOST_CHARACTERS:
            return text
    return None


def compact(value: object) -> str:
    """A value as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def without_secrets(answer: Message) -> Message:
    """A copy without the fields that no log may have."""
    copy: Message = type(answer)()
    copy.CopyFrom(answer)
    _clear_secrets(copy)
    return copy


def _clear_secrets(message: Message) -> None:
    for field, _ in message.ListFields():
        if field.GetOptions().debug_redact:
            message.ClearField(field.name)
        else:
            for each in _messages_in(message, field):
                _clear_secrets(each)


def _messages_in(message: Message, field: FieldDescriptor) -> list[Message]:
    value, kind = getattr(message, field.name), field.message_type
    if kind is None:
        return []
    if kind.GetOptions().map_entry:
        has_messages = kind.fields_by_name["value"].message_type is not None
        return list(value.values()) if has_messages else []
    return list(value) if field.is_repeated else [value]


def told(error: PlinthError) -> str:
    """An error as JSON: what a program needs to mend its call."""
    found: dict[str, object] = {"code": error.code.name, "message": error.message}
    if error.reason:
        found["reason"] = error.reason
    if error.metadata:
        found["metadata"] = dict(error.metadata)
    if error.violations:
        found["violations"] = [
            {"field": broken.field, "rule": broken.rule, "message": broken.message} for broken in error.violations
        ]
    if error.retry_after is not None:
        found["retryAfterSeconds"] = error.retry_after
    if error.request_id:
        found["requestId"] = error.request_id
    return compact({"error": found})


def _shortened(value: JsonValue, longest: int) -> JsonValue:
    if isinstance(value, str):
        return value if len(value) <= longest else value[:longest] + _ELLIPSIS.format(len(value) - longest)
    if isinstance(value, list):
        return [_shortened(each, longest) for each in value]
    if isinstance(value, Mapping):
        return {name: _shortened(each, longest) for name, each in value.items()}
    return value
