"""Limits of JSON bodies: what the rules of the message allow, in the longest form in which clients write it.

A body is parsed on the gateway's single thread before credentials are checked, so none may be longer than the contract
can require.
"""

from buf.validate.validate_pb2 import FieldRules, StringRules
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from server import extensions
from server.extensions import RULES
from server.gateway.contract import FREE_FORM, Binding, Contract, Method
from server.upload_limits import MOST_BESIDE_FILE

# One character in JSON's longest escape: two surrogates, `\ud83d\ude00`.
CHARACTER = 12
# Factor for indentation and line ends.
SPACE = 1.25
# Above any real client's need: room for white space, and for unknown keys, which are to be named in the answer.
LEAST = 4096
# Limit of calls that need no credentials, unless the policy of the RPC declares another one.
STRANGERS_BYTES = 16 * 1024
# Bytes of a body above which a call that needs credentials is not read without any, nor again from where it came with
# bad ones. Eight callers who post 16 KB of small objects kept all others waiting for 24 ms (p99), with 4 KB for 9 ms.
UNPROVEN_BYTES = 4 * 1024
# Limit for calls that declare none. Rules that allow more belong to lists of names, in which no client escapes every
# character.
MOST = 512 * 1024
# A body that is too large is read up to here, without parsing, before it is refused: over HTTP/2 some clients never see
# an answer that comes while they send.
READ_BYTES = 1024 * 1024
SCALAR = 32
ENUM = 64
MOMENT = 64
# Texts without a rule are output only. Clients that send back what they read include them.
UNRULED_TEXT = 300
UNRULED_ITEMS = 100
# Bytes of stored free-form JSON without its option (plinth/policy/v1/policy.proto), and the factor by which clients may
# write it longer: with every non-ASCII character escaped.
FREE_FORM_BYTES = 65_536
FREE_FORM_SPREAD = 3
TEXT_FORMATS = ("uuid", "tuuid", "ip", "ipv4", "ipv6")


def body_limit(contract: Contract, method: Method, binding: Binding, ceiling: int) -> int:
    """The bytes allowed in the JSON or raw body of a binding, at most `ceiling`. 0 without a body."""
    body = contract.body_type(method, binding)
    if body is None:
        return 0
    if method.client_streaming:
        return method.max_upload_bytes + MOST_BESIDE_FILE
    if method.raw is not None:
        # The server's limit is for the whole message, which has the other fields of the request too.
        return min(method.raw.max_bytes, ceiling - ceiling // 16)
    if method.max_body_bytes:
        return min(method.max_body_bytes, ceiling)
    allowed = max(LEAST, int(_message_bytes(contract, body, ()) * SPACE))
    return min(allowed, STRANGERS_BYTES if method.is_public else MOST, ceiling)


def largest_body(contract: Contract, ceiling: int) -> int:
    """The largest limit of all bodies that are held whole."""
    held = [method for method in contract.methods if not method.client_streaming]
    return max((body_limit(contract, m, binding, ceiling) for m in held for binding in m.bindings), default=0)


def _message_bytes(contract: Contract, name: str, above: tuple[str, ...]) -> int:
    message = contract.messages.get(name)
    if message is None or name in above:
        return MOMENT
    inside = (*above, name)
    return 2 + sum(_field_bytes(contract, field, inside) for field in message.field)


def _field_bytes(contract: Contract, field: FieldDescriptorProto, above: tuple[str, ...]) -> int:
    rules = field.options.Extensions[RULES]
    key = len(field.json_name) + 4
    if field.label != field.LABEL_REPEATED:
        return key + _value_bytes(contract, field, rules, above)
    if _is_map(contract, field):
        entry = contract.messages[field.type_name.lstrip(".")]
        pair = sum(
            _value_bytes(contract, part, side, above)
            for part, side in zip(entry.field, (rules.map.keys, rules.map.values), strict=True)
        )
        return key + 2 + (rules.map.max_pairs or UNRULED_ITEMS) * (pair + 2)
    items = rules.repeated.max_items or UNRULED_ITEMS
    return key + 2 + items * (_value_bytes(contract, field, rules.repeated.items, above) + 1)


def _value_bytes(contract: Contract, field: FieldDescriptorProto, rules: FieldRules, above: tuple[str, ...]) -> int:
    if field.type == field.TYPE_STRING:
        return _text_bytes(rules.string)
    if field.type == field.TYPE_BYTES:
        return (rules.bytes.max_len or rules.bytes.len or UNRULED_TEXT) * 4 // 3 + 4
    if field.type != field.TYPE_MESSAGE:
        return ENUM if field.type == field.TYPE_ENUM else SCALAR
    name = field.type_name.lstrip(".")
    if name in FREE_FORM:
        return (field.options.Extensions[extensions.FREE_FORM].max_bytes or FREE_FORM_BYTES) * FREE_FORM_SPREAD
    return MOMENT if name.startswith("google.protobuf.") else _message_bytes(contract, name, above)


def _text_bytes(rules: StringRules) -> int:
    if rules.max_bytes:
        return rules.max_bytes * CHARACTER // 2 + 2
    if any(getattr(rules, name) for name in TEXT_FORMATS):
        return MOMENT
    return (rules.max_len or rules.len or UNRULED_TEXT) * CHARACTER + 2


def _is_map(contract: Contract, field: FieldDescriptorProto) -> bool:
    message = contract.messages.get(field.type_name.lstrip("."))
    return message is not None and message.options.map_entry
