"""Field masks (AIP-134, AIP-161) and JSON merge patch (RFC 7396): which fields an update sets and which it clears."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from server.kernel.messages.fields import FieldValue, descriptor_of, message_type_of
from server.kernel.problems import RuleViolated, Violation, unknown_field

EVERYTHING = "*"
REMEMBERED_KEYS = 500


def body_mask(request: Descriptor, body: str, keys: str) -> tuple[str, ...]:
    """The field mask for the keys of a JSON body: the most deeply nested fields that it names.

    `body` is the request field that the body fills, or `*`. `keys` comes from the gateway (see server/gateway/*.lua):
    dotted, percent-encoded paths, separated by commas, with `[]` after the name of an array. Raises Malformed with the
    most similar field name.
    """
    # Callers choose the keys, so only short ones are cached: about 4 MB at most.
    return _remembered_mask(request, body, keys) if len(keys) <= REMEMBERED_KEYS else _body_mask(request, body, keys)


def _body_mask(request: Descriptor, body: str, keys: str) -> tuple[str, ...]:
    message = request if body == EVERYTHING else message_type_of(request.fields_by_name[body])
    paths = {_resolve(message, [unquote(name) for name in path.split(".")]) for path in keys.split(",") if path}
    return tuple(sorted(path for path in paths if not _has_deeper(path, paths)))


_remembered_mask = lru_cache(maxsize=4096)(_body_mask)


def _has_deeper(path: str, paths: Iterable[str]) -> bool:
    return any(other.startswith(f"{path}.") for other in paths)


def _resolve(message: Descriptor, names: list[str]) -> str:
    """The proto path of a JSON path; below repeated and free-form fields it ends at the field."""
    resolved: list[str] = []
    inside_array = False
    for depth, name in enumerate(names):
        field = _field(message, name.removesuffix("[]"))
        if field is None:
            raise unknown_field(names[:depth], name, _names(message))
        if not inside_array:
            resolved.append(field.name)
        if not _descends(field):
            break
        inside_array = inside_array or field.is_repeated
        message = message_type_of(field)
    return ".".join(resolved)


def _field(message: Descriptor, name: str) -> FieldDescriptor | None:
    return message.fields_by_camelcase_name.get(name) or message.fields_by_name.get(name)


def _names(message: Descriptor) -> list[str]:
    return [field.json_name for field in message.fields]


def _descends(field: FieldDescriptor) -> bool:
    """Whether keys below this field are fields of a message type of Plinth."""
    kind = field.message_type
    if kind is None or kind.GetOptions().map_entry:
        return False
    return not kind.full_name.startswith("google.protobuf.")


def check_mask(message: Descriptor, paths: Iterable[str]) -> tuple[str, ...]:
    """Check a mask from a gRPC caller. Raises RuleViolated for a path that does not exist."""
    checked = tuple(paths)
    if checked == (EVERYTHING,):
        return checked
    wrong = [path for path in checked if not _exists(message, path.split("."))]
    if wrong:
        raise RuleViolated(
            f"update_mask: there is no field `{wrong[0]}`.",
            violations=[Violation("update_mask", f"there is no field `{path}`", "field_mask") for path in wrong],
        )
    return checked


def _exists(message: Descriptor | None, names: list[str]) -> bool:
    for name in names:
        field = message.fields_by_name.get(name) if message is not None else None
        if field is None:
            return False
        message = field.message_type if not field.is_repeated else None
    return True


def apply_mask(source: Message, target: Message, paths: Iterable[str]) -> None:
    """Set the fields in the mask to their values in `source`, or clear them in `target` if they are unset there."""
    for path in paths:
        _apply(source, target, path.split("."))


def _apply(source: Message, target: Message, names: list[str]) -> None:
    name, *rest = names
    field = descriptor_of(target).fields_by_name[name]
    if rest:
        _apply(getattr(source, name), getattr(target, name), rest)
    elif _is_set(source, field):
        copy_field(source, target, field)
    else:
        target.ClearField(name)


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    return bool(message.HasField(field.name)) if field.has_presence else True


def copy_field(source: Message, target: Message, field: FieldDescriptor) -> None:
    """Replace one field of `target` by that of `source`."""
    value: FieldValue = getattr(source, field.name)
    if field.is_repeated:
        target.ClearField(field.name)
        getattr(target, field.name).MergeFrom(value)
    elif field.message_type is not None:
        getattr(target, field.name).CopyFrom(value)
    else:
        setattr(target, field.name, value)


def set_fields(message: Message) -> tuple[str, ...]:
    """The fields that are set: the mask of an update that has none (AIP-134)."""
    return tuple(field.name for field, _ in message.ListFields())
