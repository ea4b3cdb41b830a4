"""Checks over descriptors: what the reference has to say of RPCs and of what callers send."""

from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from server.reference.examples import OPAQUE, example_of
from tests.contract.checks import reachable

OTHERS = "google."
# Bytes in forms of others.
HTTP_BODY = "google.api.HttpBody"


def uncommented(methods: Iterable[MethodDescriptor], comments: Mapping[str, str]) -> Iterator[str]:
    """RPCs of which the contract says nothing."""
    for method in methods:
        if not comments.get(method.full_name, "").strip():
            yield f"{method.full_name} has no comment: say above it in its .proto what it does, and when it fails"


def without_example(requests: Iterable[Descriptor]) -> Iterator[str]:
    """Fields that callers set, of which neither the contract nor their type tells an example."""
    seen: dict[str, FieldDescriptor] = {}
    for request in requests:
        for _, field in reachable(request, into_output=False):
            if not _is_exempt(field):
                seen[field.full_name] = field
    for name, field in sorted(seen.items()):
        if example_of(field) is None:
            yield f"{name} has no example: add `example` to its rules, such as (buf.validate.field).string.example"


def _is_exempt(field: FieldDescriptor) -> bool:
    """What nobody can name beforehand, what others define, and messages of ours, whose fields have examples."""
    owner, below = field.containing_type, field.message_type
    if owner is not None and (owner.full_name.startswith(OTHERS) or owner.GetOptions().map_entry):
        return True
    if field.name in OPAQUE or (below is not None and below.full_name == HTTP_BODY):
        return True
    return below is not None and not below.full_name.startswith(OTHERS) and not below.GetOptions().map_entry
