"""respond: what goes beside the answer: status, Location, ETag, rate limit; and 304 where the caller has it already.

It goes as trailing metadata, for REST too (the gateway makes headers of it): sending initial metadata ahead of the
answer is an operation of its own in gRPC, and cost 15 % of a call.
"""

import re
from collections.abc import Callable

from google.protobuf.message import Message

from server.kernel.call import HTTP_STATUS, Call
from server.kernel.chain import Answer, Request, Stream, Unary
from server.kernel.messages.etags import lists
from server.kernel.messages.fields import FieldValue
from server.kernel.policy import Kind, MethodPolicy, bindings_of, kind_of

OK = 200
CREATED = 201
NOT_MODIFIED = 304
REPLAYED = ("idempotent-replay", "true")
VARIABLE = re.compile(r"\{([a-z_]+)\}")


class Respond:
    """Sends what REST shows as headers, and the request id."""

    name = "respond"

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Send it with the answer."""
        location = _location_of(method) if method.success_status == CREATED else None
        has_etag = "etag" in method.descriptor.output_type.fields_by_name or bool(method.cache_seconds)

        def responded(call: Call, request: Request) -> Answer:
            answer = proceed(call, request)
            if call.is_replay:
                call.headers.append(REPLAYED)
            if call.is_rest:
                if has_etag:
                    _add_etag(call, answer)
                if location is not None:
                    call.headers.append(("location", location(call.request, answer)))
                _add_facts(call)
            # The gateway tells the request id; metadata of our own would cost 6 % of a cached read.
            if call.headers:
                call.unary_context.set_trailing_metadata(tuple(call.headers))
            return answer

        return responded

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """A stream's headers leave with its first message."""
        del method
        return proceed


def _add_facts(call: Call) -> None:
    """What REST shows of a rate limit and of a status that is not 200."""
    call.headers.extend(call.limit_headers)
    if call.http_status != OK:
        call.headers.append((HTTP_STATUS, str(call.http_status)))


def _add_etag(call: Call, answer: Answer) -> None:
    """The ETag of the resource, or the one the cache gave the answer."""
    etag = call.etag or getattr(answer, "etag", "")
    if not etag:
        return
    call.headers.append(("etag", etag))
    wanted = call.metadata.get("if-none-match")
    if wanted is not None and call.method.read_only and lists(wanted, etag):
        call.http_status = NOT_MODIFIED


def _location_of(method: MethodPolicy) -> Callable[[Message, FieldValue], str] | None:
    """Where what an RPC creates can be read: the path of its service's Get, if there is one.

    Its variables are fields of the request; the last one is the id of what was created.
    """
    for sibling in method.descriptor.containing_service.methods:
        if kind_of(sibling) is Kind.GET and sibling.output_type == method.descriptor.output_type:
            template = bindings_of(sibling)[0].path
            *above, own = VARIABLE.findall(template)
            return lambda request, answer: template.format(
                **{name: getattr(request, name) for name in above}, **{own: answer.id}
            )
    return None
