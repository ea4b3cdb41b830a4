"""Raw bodies: what a policy declares of them (`RawBody` of policy.proto), turned into facts at start-up."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor
from plinth.policy.v1 import policy_pb2

from server.kernel.problems import Malformed, Reason

HTTP_BODY = "google.api.HttpBody"
OPEN = ("public", "provider_signature")
"""The kinds of access that take no credentials which a browser would send by itself."""
MEDIA_TYPE = re.compile(r"^[a-z]+/([a-z0-9.+-]+|\*)$")
HEADER = re.compile(r"^[a-z0-9-]+$")


@dataclass(frozen=True, slots=True)
class RawBody:
    """The body of one RPC."""

    field: str
    """The field of the request that holds it, a google.api.HttpBody."""
    max_bytes: int
    content_types: frozenset[str]
    """Lower case; empty for any. `image/*` is a family."""
    max_inflated_bytes: int
    """0 if no Content-Encoding is taken."""
    max_files: int = 0
    """The most files of one form; 0 where its first file is the body."""

    def check_type(self, content_type: str) -> None:
        """Raise Malformed for a content type that is not taken."""
        if not self.takes(content_type):
            raise unsupported(f"This call takes {', '.join(sorted(self.content_types))}.")

    def takes(self, content_type: str) -> bool:
        """Whether a body of this content type is taken."""
        media_type = content_type.partition(";")[0].strip().lower()
        family = f"{media_type.partition('/')[0]}/*"
        return not self.content_types or not self.content_types.isdisjoint((media_type, family))


def too_large(most: int) -> Malformed:
    """The problem of a body that is too large."""
    return Malformed(
        f"The body is larger than {most} bytes, the most that this call takes.",
        reason=Reason.REASON_TOO_LARGE,
        http_status=413,
        metadata={"limit_bytes": str(most)},
    )


def unsupported(message: str) -> Malformed:
    """The problem of a body in another form than the call takes."""
    return Malformed(message, reason=Reason.REASON_CONTENT_TYPE_UNSUPPORTED, http_status=415)


def raw_body_of(method: MethodDescriptor, option: policy_pb2.Policy, bodies: Sequence[str]) -> RawBody | None:
    """The raw body of an RPC, or None. `bodies` are those of its bindings."""
    if not option.HasField("raw"):
        return None
    raw = option.raw
    field = next(body for body in bodies if is_raw(method, body))
    return RawBody(field, raw.max_bytes, frozenset(raw.content_types), raw.max_inflated_bytes)


def upload_of(method: MethodDescriptor, option: policy_pb2.Policy, bodies: Sequence[str]) -> RawBody | None:
    """The body of an RPC that arrives in pieces, or None."""
    if not option.HasField("upload"):
        return None
    field = next(body for body in bodies if is_raw(method, body))
    upload = option.upload
    return RawBody(field, upload.max_bytes, frozenset(upload.content_types), 0, upload.max_files)


def is_raw(method: MethodDescriptor, body: str) -> bool:
    """Whether the body of a binding is a field of raw bytes."""
    field = method.input_type.fields_by_name.get(body)
    kind = field.message_type if field is not None else None
    return kind is not None and kind.full_name == HTTP_BODY


def faults(method: MethodDescriptor, option: policy_pb2.Policy, bodies: Sequence[str]) -> Iterator[str]:
    """The contradictions in what an RPC declares of its raw body. `bodies` are those of its bindings."""
    raw_fields = {body for body in bodies if is_raw(method, body)}
    yield from _upload_faults(method, option, raw_fields)
    if not option.HasField("raw"):
        if raw_fields and not method.client_streaming:
            yield f"the body `{min(raw_fields)}` is a {HTTP_BODY}: declare `raw` with its `max_bytes`"
        return
    if not raw_fields or raw_fields != {body for body in bodies if body}:
        yield f"declares `raw`: every `body` of its bindings has to name one field that is a {HTTP_BODY}"
    if method.client_streaming or method.server_streaming or option.pool == policy_pb2.POOL_WAITING:
        yield "declares `raw`, which is for unary RPCs that do not wait"
    yield from _size_faults(option.raw)
    yield from _origin_faults(option)
    yield from _type_faults("raw", option.raw.content_types)


def _upload_faults(method: MethodDescriptor, option: policy_pb2.Policy, raw_fields: set[str]) -> Iterator[str]:
    if not option.HasField("upload"):
        if method.client_streaming:
            yield "a client-streaming RPC is an upload: declare `upload` with its `max_bytes`"
        return
    if not method.client_streaming or method.server_streaming:
        yield "declares `upload`, which is for RPCs that stream their request and answer once"
    if len(raw_fields) != 1:
        yield f"declares `upload`: the `body` of its bindings has to name one field that is a {HTTP_BODY}"
    if option.upload.max_bytes <= 0:
        yield "declares `upload` without `max_bytes`: say how many bytes it takes"
    if option.WhichOneof("access") == "provider_signature":
        yield "what a provider signs is unary: its signature is over the whole body"
    yield from _type_faults("upload", option.upload.content_types)


def _type_faults(name: str, kinds: Iterable[str]) -> Iterator[str]:
    for kind in kinds:
        if not MEDIA_TYPE.match(kind):
            yield f"{name}.content_types has `{kind}`: write a lower-case media type without parameters, or `image/*`"


def _size_faults(raw: policy_pb2.RawBody) -> Iterator[str]:
    if raw.max_bytes <= 0:
        yield "declares `raw` without `max_bytes`: say how many bytes it takes"
    if raw.max_inflated_bytes and raw.max_inflated_bytes < raw.max_bytes:
        yield "raw.max_inflated_bytes is less than raw.max_bytes: a body does not shrink when it is inflated"


def _origin_faults(option: policy_pb2.Policy) -> Iterator[str]:
    if option.raw.any_origin and option.WhichOneof("access") not in OPEN:
        yield "raw.any_origin is for RPCs that are `public` or have a `provider_signature`: others take credentials"
    if option.raw.exposed_headers and not option.raw.any_origin:
        yield "raw.exposed_headers is for pages of any origin: declare raw.any_origin, or leave it out"
    for name in option.raw.exposed_headers:
        if not HEADER.match(name):
            yield f"raw.exposed_headers has `{name}`: write the name of a header in lower case"
