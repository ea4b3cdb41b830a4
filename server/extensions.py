"""The options that the contract adds to protobuf's own, typed: generated code gives no types for extensions.

`method.options.Extensions[POLICY]` is a Policy, also to the type checker.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from buf.validate import validate_pb2
from google.protobuf.message import Message
from plinth.policy.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FieldOptions, MethodOptions
    from google.protobuf.internal.extension_dict import _ExtensionFieldDescriptor as Extension

Extended = TypeVar("Extended", bound=Message)
Held = TypeVar("Held", bound=Message)


def _typed(generated: Any) -> "Extension[Extended, Held]":
    extension: Extension[Extended, Held] = generated
    return extension


POLICY: "Extension[MethodOptions, policy_pb2.Policy]" = _typed(policy_pb2.policy)
FREE_FORM: "Extension[FieldOptions, policy_pb2.FreeForm]" = _typed(policy_pb2.free_form)
RULES: "Extension[FieldOptions, validate_pb2.FieldRules]" = _typed(validate_pb2.field)
