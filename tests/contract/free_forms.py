"""Every free-form field that a caller can set, by its descriptor, and what is worst to hold at its bounds."""

import json
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server import app
from server.kernel.messages.free_form import Bounds, bounds_of
from server.kernel.policy import MethodPolicy
from tests.contract.checks import reachable

Payload = Callable[[int], Any]
"""A value of so many bytes of JSON, or a few less."""


@dataclass(frozen=True)
class FreeForm:
    """One field of one RPC's request."""

    method: MethodPolicy
    path: str
    bounds: Bounds
    is_stored: bool
    """Whether anybody can read it again. What is redacted, such as a passkey's answer, is kept nowhere."""

    def fill(self, request: Message, content: dict[str, Any]) -> Message:
        """The request with this content in the field: of a list, in its last item."""
        filled = GetMessageClass(self.method.descriptor.input_type)()
        filled.CopyFrom(request)
        *above, name = self.path.split(".")
        holder: Any = filled
        for step in above:
            holder = getattr(holder, step)
            if isinstance(holder, MutableSequence):
                holder = holder[-1]
        json_format.ParseDict(content, getattr(holder, name), max_recursion_depth=200)
        return filled


# What holds JSON that follows rules of its own, each with the rules.
RULED = {"plinth.sites.v1.SectionType.schema": "a part of JSON Schema"}


def free_forms() -> Iterator[FreeForm]:
    """All of them; an RPC may have several."""
    for method in app.policies().values():
        for path, field in reachable(method.descriptor.input_type, into_output=False):
            bounds = bounds_of(field)
            if bounds is not None and field.full_name not in RULED:
                yield FreeForm(method, path, bounds, is_stored=not field.GetOptions().debug_redact)


def shown_in(method: MethodPolicy) -> set[str]:
    """The messages that an answer may hold."""
    output = method.descriptor.output_type
    below = {field.message_type.full_name for _, field in reachable(output, into_output=True) if field.message_type}
    return {output.full_name, *below}


def _text(unit: str) -> Payload:
    size = len(json.dumps(unit, ensure_ascii=False).encode()) - 2
    return lambda room: unit * ((room - 2) // size)


# What grows most on one of its ways: in protobuf, in the JSON of the transcoder, in that of Python.
PAYLOADS: Mapping[str, Payload] = {
    "numbers": lambda room: [0] * ((room - 1) // 2),
    "long numbers": lambda room: [-1.2345678901234567e-300] * ((room - 1) // 25),
    "keys": lambda room: {f"{number:05}": None for number in range((room - 1) // 13)},
    "control characters": _text("\x01"),
    "angle brackets": _text("<"),
    "wide characters": _text("𝄞"),
}


def deepest(levels: int, innermost: Any = "x") -> dict[str, Any]:
    """An object in objects, so many levels in all."""
    value = innermost
    for _ in range(levels - 1):
        value = {"a": value}
    return {"a": value}


def at_bounds(bounds: Bounds, payload: Payload) -> dict[str, Any]:
    """What is as deep and, to a few bytes, as large as it may be."""
    # Of the payloads some have a level or two of their own.
    levels = bounds.max_depth - max(_levels(payload(100)), 0)
    return deepest(levels, payload(bounds.max_bytes - size_of(deepest(levels, "")) + 2))


def size_of(content: Any) -> int:
    """Bytes of JSON."""
    return len(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())


def _levels(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_levels, value.values() if isinstance(value, dict) else value), default=0)


def beyond(bounds: Bounds) -> Mapping[str, dict[str, Any]]:
    """What is one level too deep, and what is one byte too large; by the rule that it breaks."""
    large = {"a": "x" * (bounds.max_bytes - size_of({"a": ""}) + 1)}
    return {"free_form.max_depth": deepest(bounds.max_depth + 1), "free_form.max_bytes": large}
