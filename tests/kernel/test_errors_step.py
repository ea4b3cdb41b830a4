"""errors: the outermost step turns whatever was raised into a status, at both doors."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from plinth.sites.v1.page_pb2 import PageEvent

from server.kernel.call import LIMIT, Call
from server.kernel.problems import Malformed, NotFound, Problem, RateLimited, Unauthenticated, Unavailable, Violation
from server.kernel.rates import Rate, Verdict
from server.kernel.steps.errors import NO_MESSAGE, STATUS_DETAILS, Errors
from server.kernel.steps.json_names import JsonNames
from tests.clients import Problem as Known
from tests.kernel import calls
from tests.kernel.calls import EXPORT, GET, STREAM, WATCH, Aborted, AsyncContext, Context, call

UPDATE = "/plinth.sites.v1.PageService/UpdatePage"
USED_UP = Verdict(Rate(1, 60.0), 0, 0.0, 59.5)
REST = {"x_envoy_original_path": "/api/v1/x?access_token=t"}


def failed(error: BaseException, context: Context) -> Context:
    """The context after a unary call that raised."""

    def handle(_: Call, __: Any) -> Message:
        raise error

    with pytest.raises(Aborted):
        Errors().unary(GET, handle)(call(GET, context), None)
    return context


def beside(context: Context) -> dict[str, Any]:
    """What the gateway sees beside the status: without a message, trailers are the headers of the answer."""
    return context.initial | context.trailing


def known(context: Context) -> Known:
    return Known.of(status_pb2.Status.FromString(context.trailing[STATUS_DETAILS]))


def test_an_answer_passes() -> None:
    event = PageEvent(id="1")
    assert Errors().unary(GET, lambda _, __: event)(call(GET), None) is event


def test_a_problem_becomes_a_status_with_its_details() -> None:
    context = failed(NotFound("gone"), Context(x_request_id="mine"))
    assert (context.code, context.details) == (grpc.StatusCode.NOT_FOUND, "gone")
    assert (known(context).reason, known(context).domain, known(context).request_id) == (
        "RESOURCE_NOT_FOUND",
        "plinth",
        "mine",
    )
    assert "x-http-status" not in beside(context)


def test_what_nobody_foresaw_says_nothing_of_its_cause() -> None:
    context = failed(RuntimeError("password=hunter2"), Context())
    assert context.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in context.details + str(context.trailing)
    assert known(context).request_id


def test_rest_gets_status_and_headers() -> None:
    assert beside(failed(NotFound(), Context(**REST)))["x-http-status"] == "404"
    away = beside(failed(Unavailable("database", retry_after=2.0), Context(**REST)))
    assert (away["x-http-status"], away["retry-after"]) == ("503", "2")
    assert beside(failed(Unavailable("database", retry_after=0.1), Context(**REST)))["retry-after"] == "1"
    # Rounded up: who waits as long as told is let through.
    assert beside(failed(Unavailable("database", retry_after=1.2), Context(**REST)))["retry-after"] == "2"
    assert "www-authenticate" in beside(failed(Unauthenticated(), Context(**REST)))
    assert beside(failed(NotFound(http_status=410), Context(**REST)))["x-http-status"] == "410"


@pytest.mark.parametrize(("metadata", "told"), [(REST, "default;1;60;0;0"), ({}, None)], ids=["rest", "grpc"])
def test_a_rate_limit_is_told_to_the_gateway_alone(metadata: dict[str, str], told: str | None) -> None:
    def handle(one: Call, _: Any) -> Message:
        one.limit, one.limit_class = USED_UP, "default"
        raise RateLimited(retry_after=59.5)

    context = Context(**metadata)
    with pytest.raises(Aborted):
        Errors().unary(GET, handle)(call(GET, context), None)
    assert context.trailing.get(LIMIT) == told
    assert context.trailing.get("retry-after") == ("60" if told else None)
    assert known(context).retry_after == 59.5


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt()])
def test_what_ends_the_process_is_not_held_up(error: BaseException) -> None:
    def handle(_: Call, __: Any) -> Message:
        raise error

    with pytest.raises(type(error)):
        Errors().unary(GET, handle)(call(GET), None)


def streamed(method: Any, context: Context, *items: Message | Problem | Exception) -> list[Any]:
    """What a stream sends that yields messages and then raises."""

    async def handle(_: Call, __: Any) -> AsyncIterator[Message]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    sent: list[Any] = []

    async def run() -> None:
        async for message in Errors().stream(method, handle)(call(method, context), None):
            sent.append(message)  # noqa: PERF401 - what was sent before it failed counts as well

    try:
        asyncio.run(run())
    except Aborted:
        sent.append(Aborted)
    return sent


def test_a_stream_that_ends_well_is_left_alone() -> None:
    assert streamed(WATCH, AsyncContext(), PageEvent(id="1")) == [PageEvent(id="1")]


def test_a_stream_that_fails_before_it_began_is_aborted_with_headers_for_rest() -> None:
    context = AsyncContext(**REST)
    assert streamed(STREAM, context, NotFound()) == [Aborted]
    assert beside(context)["x-http-status"] == "404"
    assert known(context).reason == "RESOURCE_NOT_FOUND"


def test_a_typed_stream_that_fails_later_is_aborted() -> None:
    context = AsyncContext()
    assert streamed(WATCH, context, PageEvent(id="1"), RuntimeError("hunter2")) == [PageEvent(id="1"), Aborted]
    assert context.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in context.details


def test_an_event_source_that_fails_later_gets_a_last_frame() -> None:
    """Its status has been sent, so the error is a frame, and the stream ends well."""
    context = AsyncContext(**REST)
    first, last = streamed(STREAM, context, HttpBody(data=b"x"), Unauthenticated("over"))
    assert first == HttpBody(data=b"x")
    assert last.content_type == "text/event-stream"
    assert b"event: stream.error\ndata: {" in last.data
    assert last.data.endswith(b"\n\n")
    assert b"CREDENTIALS_INVALID" in last.data
    assert context.code is None


@pytest.mark.parametrize(("metadata", "last"), [(REST, NO_MESSAGE), ({}, HttpBody(data=b"x"))], ids=["rest", "grpc"])
def test_a_file_that_fails_later_is_cut_off(metadata: dict[str, str], last: object) -> None:
    """Over REST a status comes too late, and the file would look whole: what is no message makes the gateway reset."""
    context = AsyncContext(**metadata)
    sent = streamed(EXPORT, context, HttpBody(data=b"x"), Unavailable("database"))
    assert sent[-2:] == [last, Aborted]
    assert context.code is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(DecodeError):
        HttpBody.FromString(NO_MESSAGE)


def test_a_file_that_fails_before_it_began_is_aborted_whoever_asks() -> None:
    context = AsyncContext(**REST, accept="text/event-stream")
    assert streamed(EXPORT, context, Unavailable("database")) == [Aborted]
    assert beside(context)["x-http-status"] == "503"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("page_id is no UUID", "pageId is no UUID"),
        ("`page_id`: is no UUID", "`pageId`: is no UUID"),
        ("page.og_image is no URL", "ogImage is no URL"),
        # A message is about a field of the body when a violation says so.
        ("og_image is a word", "og_image is a word"),
        ("Only one of page_id and slug", "Only one of page_id and slug"),
    ],
)
def test_a_message_that_begins_with_a_field_of_the_request_names_it_as_json_does(message: str, told: str) -> None:
    violations = [Violation("page.og_image", "is no URL", "string.uri")] if message.startswith("page.") else []
    assert JsonNames(calls.POLICIES[UPDATE], "title").problem(Malformed(message, violations=violations)).message == told
