"""parse: parses the bytes of the request.

It comes after address, authenticate and limit, which do not need the message.

A request from an unknown caller therefore costs nothing in proportion to its length. gRPC itself would parse before any
step, and answer INTERNAL to bytes that do not parse.
"""

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.call import Call
from server.kernel.chain import Answer, Before, Request, Unary
from server.kernel.policy import Access, MethodPolicy
from server.kernel.problems import Malformed

QUERY_TOKEN = "access_token"  # noqa: S105 - the name of a field
QUERY_TICKET = "ticket"
SMALL = 16 * 1024
"""Bytes that are parsed for any caller: for a token among the fields, and for the audit entry of a refusal."""


class Parse(Before):
    """Passes the message on and keeps it as `call.request`. Answers INVALID_ARGUMENT to bytes that do not parse."""

    name = "parse"

    def __init__(self, *, early: bool = False) -> None:
        """`early`: for RPCs whose credentials are in or over the request. The others are parsed later."""
        self._early = early

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Parse, unless this RPC is parsed by the other instance of the step."""
        if is_early(method) is not self._early:
            return proceed
        parse, early = GetMessageClass(method.descriptor.input_type).FromString, self._early
        # What a provider signs has its own limit, and the gateway has kept it.
        most = SMALL + (method.raw.max_bytes if method.raw else 0)

        def parsed(call: Call, raw: Request) -> Answer:
            if early and len(raw) > most:
                raise Malformed(f"The request is larger than {most} bytes.", http_status=413)
            try:
                call.request = parse(raw)
            except DecodeError as error:
                raise Malformed(f"The request is no {method.descriptor.input_type.full_name}.") from error
            return proceed(call, call.request)

        return parsed


def is_early(method: MethodPolicy) -> bool:
    """Whether credentials may be in the request, as for an EventSource, or are over it, as a signature is."""
    fields = method.descriptor.input_type.fields_by_name
    is_signed = method.access is Access.PROVIDER_SIGNATURE
    return is_signed or QUERY_TOKEN in fields or QUERY_TICKET in fields


def request_of(call: Call, raw: Request) -> Message | None:
    """The request of a refused call, parsed or not. None if it is large or does not parse."""
    if call.request is not None:
        parsed: Message = call.request
        return parsed
    if not isinstance(raw, bytes) or len(raw) > SMALL:
        return None
    try:
        return GetMessageClass(call.method.descriptor.input_type).FromString(raw)
    except DecodeError:
        return None
