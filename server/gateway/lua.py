"""The Lua script of the gateway: tables rendered from the contract, and the files beside this one."""

from collections.abc import Iterable, Iterator
from importlib.resources import files

from google.protobuf.descriptor_pb2 import EnumDescriptorProto, FieldDescriptorProto

from server.enum_names import short_names, told
from server.gateway.body_limits import READ_BYTES, UNPROVEN_BYTES, body_limit
from server.gateway.contract import FREE_FORM, HTTP_BODY, Binding, Contract, Method
from server.gateway.enums import values_of
from server.gateway.local_reply import RETRY_AFTER, Reply, replies_to_connect
from server.gateway.raw_bodies import facts
from server.gateway.static_files import StaticFile
from server.settings import Settings

FREE = "json_keys.FREE"
OPAQUE = "json_keys.OPAQUE"
# Modules by file name, in the order of their dependencies.
BASE = ("utf8", "json_keys", "names", "is_grpc", "connect_errors", "problems", "strangers", "new_matcher")
EDGE = ("responses", "connect_calls", "on_request")
CONNECT = ("utf8", "is_grpc", "connect_errors")
FILES = {"new_matcher": "paths", "on_request": "requests"}
# Messages whose JSON form is not an object of their fields (the JSON mapping of proto3).
TEXTS = frozenset(f"google.protobuf.{name}" for name in ("Timestamp", "Duration", "FieldMask"))
WRAPPERS = {
    f"google.protobuf.{name}Value": kind
    for names, kind in (
        (("String", "Bytes"), "text"),
        (("Bool",), "bool"),
        (("Double", "Float", "Int32", "Int64", "UInt32", "UInt64"), "number"),
    )
    for name in names
}
ANY_KIND = ""
SCALARS = {
    FieldDescriptorProto.TYPE_STRING: "text",
    FieldDescriptorProto.TYPE_BYTES: "text",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_ENUM: "enum",
}


def script(contract: Contract, settings: Settings, static: Iterable[StaticFile] = ()) -> str:
    """Make the script for Envoy's Lua filter. It knows the paths of the static files, which answer no other method."""
    bound = [(method, binding) for method in contract.methods for binding in method.bindings]
    return "\n".join(
        [
            *(_module(name) for name in BASE),
            "local BINDINGS = {",
            *(f"  {_binding(contract, method, binding, settings.max_request_bytes)}," for method, binding in bound),
            "}\n",
            "local SHAPES = {",
            *(f"  [{_quote(name)}] = {shape}," for name, shape in sorted(_shapes(contract).items())),
            "}\n",
            "-- Enums: the names and numbers that are taken, in capitals, and `told`, which lists the names.",
            "local ENUMS = {",
            *(f"  [{_quote(name)}] = {_enum(enum)}," for name, enum in sorted(contract.enums.items())),
            "}\n",
            "-- Names of parameters, and whether one may come more than once.",
            "local PARAMETERS = {",
            *(f"  [{_quote(name)}] = {_parameters(contract, name)}," for name in sorted({m.request for m, _ in bound})),
            "}\n",
            "-- Parameters that hold an enum.",
            "local ENUM_PARAMETERS = {",
            *(
                f"  [{_quote(name)}] = {table},"
                for name, table in _enum_parameters(contract, {m.request for m, _ in bound})
            ),
            "}\n",
            f"local STATIC = {_set(file.path for file in static)}",
            "local bindings = new_matcher(BINDINGS)",
            f"local UNPROVEN_BYTES, READ_BYTES = {UNPROVEN_BYTES}, {READ_BYTES}",
            f"local SITES_SUFFIX = {_quote(f'.{settings.sites_domain.lower()}')}",
            f"local OWN_HOST = {_quote(settings.own_host)}",
            f"local HAS_CUSTOM_DOMAINS = {str(settings.public_url is not None).lower()}",
            f"local MAX_HEADER_BYTES = {settings.max_header_kilobytes * 1024}",
            _local_replies(settings),
            *(_module(name) for name in EDGE),
            _source("edge"),
        ]
    )


def connect_script() -> str:
    """Make the script of the Lua filter for answers to calls of Connect."""
    return "\n".join([*(_module(name) for name in CONNECT), _source("connect_answers")])


def _local_replies(settings: Settings) -> str:
    """What Envoy's own answers say, by status, for calls of Connect."""
    lines = (f"  [{reply.status}] = {_reply(reply)}," for reply in replies_to_connect(settings))
    return "\n".join(["local LOCAL_REPLIES = {", *lines, "}\n"])


def _reply(reply: Reply) -> str:
    metadata = ", ".join(f"[{_quote(name)}] = {_quote(value)}" for name, value in reply.metadata.items())
    wait = f", wait = {RETRY_AFTER}" if reply.retry else ""
    return (
        f"{{code = {reply.code}, reason = {_quote(reply.reason)}, message = {_quote(reply.message)}, "
        f"metadata = {{{metadata}}}{wait}}}"
    )


def _module(name: str) -> str:
    return f"local {name} = (function()\n{_source(FILES.get(name, name))}end)()\n"


def _source(name: str) -> str:
    return files("server.gateway").joinpath(f"{name}.lua").read_text()


def _binding(contract: Contract, method: Method, binding: Binding, max_request_bytes: int) -> str:
    fields = {
        "verb": _quote(binding.verb),
        "pattern": _quote(binding.normal),
        "request": _quote(method.request),
        "guarded": "false" if method.is_public else "true",
    }
    taken = [*binding.variables]
    body = contract.body_type(method, binding)
    if body is not None:
        fields["shape"] = _quote(body)
        fields["body"] = _quote(_kind_of_body(contract, method, body))
        fields |= facts(contract, method, binding)
        fields["limit"] = str(body_limit(contract, method, binding, max_request_bytes))
        if binding.body == "*":
            fields["whole"] = "true"
        else:
            fields["inner"] = _quote(binding.body)
            taken.append(binding.body)
    if taken:
        fields["taken"] = _set(_json_name(contract, method.request, field) for field in taken)
    return "{" + ", ".join(f"{name} = {value}" for name, value in fields.items()) + "}"


def _json_name(contract: Contract, message: str, name: str) -> str:
    field = contract.field(message, name)
    return field.json_name if field else name


def _kind_of_body(contract: Contract, method: Method, body: str) -> str:
    """`json`, `raw` bytes that are held back until they are whole, or a `stream` of bytes."""
    if not _is_raw(contract, body):
        return "json"
    return "stream" if method.client_streaming else "raw"


def _is_raw(contract: Contract, body: str) -> bool:
    """Whether the body is raw bytes: google.api.HttpBody, alone or in a message that is the whole body."""
    return body == HTTP_BODY or any(field.type_name == f".{HTTP_BODY}" for field in contract.messages[body].field)


def _parameters(contract: Contract, request: str) -> str:
    fields = contract.messages[request].field
    parts = (
        f"[{_quote(field.json_name)}] = {str(field.label == field.LABEL_REPEATED or _is_mask(field)).lower()}"
        for field in sorted(fields, key=lambda field: field.json_name)
    )
    return "{" + ", ".join(parts) + "}"


def _enum_parameters(contract: Contract, requests: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The requests with fields that hold an enum, and a Lua table of these fields."""
    for request in sorted(requests):
        pairs = [f"[{_quote(name)}] = {_quote(enum)}" for name, enum in _enum_fields(contract, request, ())]
        if pairs:
            yield request, "{" + ", ".join(pairs) + "}"


def _enum_fields(contract: Contract, message: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The fields that hold an enum, by the names that parameters have, such as `range.unit`, and their enums."""
    within = (*above, message)
    for field in contract.messages[message].field:
        below = _message_below(contract, field)
        if field.type == field.TYPE_ENUM:
            yield field.json_name, field.type_name.lstrip(".")
        elif below is not None and below not in within and field.label != field.LABEL_REPEATED:
            inner = _enum_fields(contract, below, within)
            yield from ((f"{field.json_name}.{name}", enum) for name, enum in inner)


def _enum(enum: EnumDescriptorProto) -> str:
    values = values_of(enum)
    taken = values.keys() | short_names(values).keys() | {str(number) for number in values.values()}
    pairs = [f"[{_quote(name.upper())}] = true" for name in sorted(taken)]
    return "{" + ", ".join([f"told = {_quote(told(values))}", *pairs]) + "}"


def _is_mask(field: FieldDescriptorProto) -> bool:
    """Whether a field is a field mask, which is a list of paths that may be sent one by one."""
    return field.type_name == ".google.protobuf.FieldMask"


def _shapes(contract: Contract) -> dict[str, str]:
    """Every message that a JSON body can contain, as a Lua table of its fields."""
    bodies = {contract.body_type(method, binding) for method in contract.methods for binding in method.bindings}
    shapes: dict[str, str] = {}
    waiting = [body for body in bodies if body is not None]
    while waiting:
        name = waiting.pop()
        if name in shapes or name in FREE_FORM:
            continue
        fields = contract.messages[name].field
        shapes[name] = "{" + ", ".join(part for field in fields for part in _field(contract, field)) + "}"
        waiting += [child for field in fields if (child := _message_below(contract, field)) is not None]
    return shapes


def _field(contract: Contract, field: FieldDescriptorProto) -> Iterator[str]:
    """A field under its JSON name and under its .proto name; the transcoder accepts both."""
    kind = _kind(field)
    facts = {"name": _quote(field.json_name)}
    if kind:
        facts["kind"] = _quote(kind)
    if field.label == field.LABEL_REPEATED and not _is_map(contract, field):
        facts["list"] = "true"
    if field.type == field.TYPE_ENUM:
        facts["enum"] = _quote(field.type_name.lstrip("."))
    below = _below(contract, field)
    if below:
        facts["below"] = below
    table = "{" + ", ".join(f"{name} = {value}" for name, value in facts.items()) + "}"
    for name in sorted({field.json_name, field.name}):
        yield f"[{_quote(name)}] = {table}"


def _kind(field: FieldDescriptorProto) -> str:
    """The kind of the field's value in JSON; empty if it may be anything."""
    if field.type != field.TYPE_MESSAGE:
        return SCALARS.get(field.type, "number")
    name = field.type_name.lstrip(".")
    if name == "google.protobuf.Value":
        return ANY_KIND
    if name == "google.protobuf.ListValue":
        return "list"
    return "text" if name in TEXTS else WRAPPERS.get(name, "object")


def _below(contract: Contract, field: FieldDescriptorProto) -> str:
    """The shape below the field's value, in Lua; empty for a field without fields of its own."""
    if field.type != field.TYPE_MESSAGE:
        return ""
    name = field.type_name.lstrip(".")
    if name in FREE_FORM:
        return FREE
    if _is_map(contract, field):
        return OPAQUE
    child = _message_below(contract, field)
    return _quote(child) if child else ""


def _message_below(contract: Contract, field: FieldDescriptorProto) -> str | None:
    """The type of a message field whose JSON is an object of its fields, or None."""
    if field.type != field.TYPE_MESSAGE or _is_map(contract, field):
        return None
    name = field.type_name.lstrip(".")
    return None if name in FREE_FORM or name in TEXTS or name in WRAPPERS else name


def _is_map(contract: Contract, field: FieldDescriptorProto) -> bool:
    message = contract.messages.get(field.type_name.lstrip("."))
    return message is not None and message.options.map_entry


def _set(names: Iterable[str]) -> str:
    return "{" + ", ".join(f"[{_quote(name)}] = true" for name in sorted(names)) + "}"


def _quote(text: str) -> str:
    # Names of protobuf and paths contain no quotes, backslashes or control characters: Envoy refuses such patterns.
    return f'"{text}"'
