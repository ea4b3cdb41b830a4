"""respond: metadata beside the answer: status, Location, ETag, rate limit; and 304 if the caller's copy is current.

Over REST it is sent ahead of the answer, as the headers that it becomes (server/kernel/guard/pools.py). Over gRPC, and
where a call runs on asyncio, it follows the answer, from where the gateway takes it for REST.
"""

import re
from collections.abc import AsyncIterator, Callable

from google.protobuf.message import Message

from server.kernel.call import HTTP_STATUS, VALIDATE_ONLY, Call
from server.kernel.chain import Answer, Request, Stream, Unary
from server.kernel.guard import set_headers
from server.kernel.messages.etags import lists
from server.kernel.messages.fields import FieldValue
from server.kernel.policy import Kind, MethodPolicy, bindings_of, kind_of

OK = 200
CREATED = 201
ACCEPTED = 202
NOT_MODIFIED = 304
REPLAYED = ("idempotent-replay", "true")
TRIED = (VALIDATE_ONLY, "true")
VARIABLE = re.compile(r"\{([a-z_]+)\}")


class Respond:
    """Sends the metadata that REST shows as headers, and the request id."""

    name = "respond"

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Send the metadata with the answer."""
        location = location_of(method) if method.success_status in (CREATED, ACCEPTED) else None
        has_etag, can_be_tried = method.answers_etag, method.can_be_tried

        def responded(call: Call, request: Request) -> Answer:
            answer = proceed(call, request)
            if call.is_replay:
                call.headers.append(REPLAYED)
            if can_be_tried and call.is_trial:
                call.headers.append(TRIED)
            if call.is_rest:
                if has_etag:
                    _add_etag(call, answer)
                if location is not None:
                    call.headers.append(("location", location(call.request, answer)))
                _add_facts(call)
            # The gateway adds the request id. Metadata of our own would cost 6 % of a cached read.
            if call.headers and call.is_rest:
                set_headers(call.unary_context, tuple(call.headers))
            elif call.headers:
                call.unary_context.set_trailing_metadata(tuple(call.headers))
            return answer

        return responded

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """Send the metadata with the answer of an RPC that has one. That of a stream is sent with its first message."""
        if method.streaming:
            return proceed
        has_etag = method.answers_etag
        location = location_of(method) if method.success_status in (CREATED, ACCEPTED) else None

        async def responded(call: Call, request: Request) -> AsyncIterator[Message]:
            async for answer in proceed(call, request):
                if call.is_replay:
                    call.headers.append(REPLAYED)
                if call.is_rest:
                    if has_etag:
                        _add_etag(call, answer)
                    if location is not None:
                        call.headers.append(("location", location(call.request, answer)))
                    _add_facts(call)
                if call.headers:
                    call.unary_context.set_trailing_metadata(tuple(call.headers))
                yield answer

        return responded


def _add_facts(call: Call) -> None:
    """Add the rate limit, and a status other than 200."""
    call.headers.extend(call.limit_headers)
    if call.http_status != OK:
        call.headers.append((HTTP_STATUS, str(call.http_status)))


def _add_etag(call: Call, answer: Answer) -> None:
    """Add the ETag of the resource, or the one that the cache gave the answer."""
    etag = call.etag or getattr(answer, "etag", "")
    if not etag:
        return
    call.headers.append(("etag", etag))
    wanted = call.metadata.get("if-none-match")
    if wanted is not None and call.method.read_only and lists(wanted, etag):
        call.http_status = NOT_MODIFIED


def location_of(method: MethodPolicy) -> Callable[[Message, FieldValue], str] | None:
    """A function that gives the path of a created resource: that of its service's Get, if there is one.

    The service is the method's own, or one in the file of the resource, as that of operations is. The variables of the
    path are fields of the request; the last one is the id of the new resource.
    """
    made = method.descriptor.output_type
    services = (method.descriptor.containing_service, *made.file.services_by_name.values())
    for sibling in (each for service in services for each in service.methods):
        if kind_of(sibling) is Kind.GET and sibling.output_type == made:
            template = bindings_of(sibling)[0].path
            *above, own = VARIABLE.findall(template)
            return lambda request, answer: template.format(
                # What the path of the request does not name, such as the tenant of the credentials, the answer does.
                **{name: getattr(request, name, "") or getattr(answer, name) for name in above},
                **{own: answer.id},
            )
    return None
