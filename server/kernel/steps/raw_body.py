"""raw_body: the body of an RPC that takes raw bytes, as its handler gets it.

The gateway refuses by size and content type before a call costs anything here; callers of gRPC have no such gateway. A
body is inflated only now, when the caller is known and was counted.
"""

from google.api.httpbody_pb2 import HttpBody

from server.kernel.call import CONTENT_ENCODING, Call
from server.kernel.chain import Guard, GuardStep, Request
from server.kernel.inbound.inflating import ENCODINGS, inflate
from server.kernel.policy import MethodPolicy
from server.kernel.raw_bodies import RawBody, too_large, unsupported


class TakeRawBody(GuardStep):
    """Answers INVALID_ARGUMENT to a body that is too large, of another type, or broken."""

    name = "raw_body"

    def guard(self, method: MethodPolicy) -> Guard | None:
        """Check the body, and inflate it."""
        raw = method.raw
        if raw is None:
            return None

        def take(call: Call, request: Request) -> None:
            body: HttpBody = getattr(request, raw.field)
            check(raw, body)
            encoding = call.metadata.get(CONTENT_ENCODING)
            if encoding is not None:
                body.data = inflated(raw, str(encoding), body.data)

        return take


def check(raw: RawBody, body: HttpBody) -> None:
    """Raise Malformed for a body that is too large or of another content type, as the gateway would."""
    if len(body.data) > raw.max_bytes:
        raise too_large(raw.max_bytes)
    raw.check_type(body.content_type)


def inflated(raw: RawBody, encoding: str, data: bytes) -> bytes:
    """The body without its Content-Encoding. Raises Malformed."""
    if not raw.max_inflated_bytes or encoding not in ENCODINGS:
        raise unsupported(f"This call takes no Content-Encoding `{encoding[:40]}`.")
    return inflate(encoding, data, raw.max_inflated_bytes)
