"""respond: what goes beside an answer, for REST to show as headers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.operations.v1.operation_pb2 import Operation
from plinth.sites.v1.page_pb2 import (
    CreatePageRequest,
    ListPagesRequest,
    ListPagesResponse,
    Page,
    PublishPageRequest,
)

from server.kernel.call import HTTP_STATUS, LIMIT, Call
from server.kernel.chain import Answer
from server.kernel.policy import MethodPolicy
from server.kernel.rates import Rate, Verdict
from server.kernel.steps.respond import REPLAYED, Respond
from tests.kernel.calls import CREATE, GET, POLICIES, AsyncContext, Context, call

REST = {"x_envoy_original_path": "/api/v1/x"}
LIST = POLICIES["/plinth.sites.v1.PageService/ListPages"]
WAIT = POLICIES["/plinth.operations.v1.OperationService/WaitOperation"]
ETAG = 'W/"1"'
LIMITED = {"limit": Verdict(Rate(9, 60.0), 7, 0.0), "limit_class": "default"}


class Answering:
    """The descriptor of an RPC that answers with another message."""

    def __init__(self, descriptor: Any, output_type: Any) -> None:
        self._descriptor = descriptor
        self.output_type = output_type

    def __getattr__(self, name: str) -> Any:
        return getattr(self._descriptor, name)


def told(
    method: MethodPolicy, answer: Answer, request: Message | None = None, *, metadata: dict[str, str], **facts: Any
) -> dict[str, Any]:
    """What is sent beside an answer; facts are what the steps below have found out about the call."""
    context = Context(**metadata)
    one = call(method, context)
    one.request = request

    def handle(call: Call, _: Any) -> Answer:
        for name, value in facts.items():
            setattr(call, name, value)
        return answer

    assert Respond().unary(method, handle)(one, request) is answer
    return context.trailing


def test_rest_gets_what_it_shows_as_headers() -> None:
    page, request = Page(id="p", etag=ETAG), CreatePageRequest(tenant_id="t")
    assert told(CREATE, page, request, metadata=REST, is_replay=True, **LIMITED) == {
        "idempotent-replay": "true",
        "etag": ETAG,
        "location": "/api/v1/tenants/t/pages/p",
        LIMIT: "default;9;60;7;0",
        HTTP_STATUS: "201",
    }


def test_what_was_accepted_is_where_its_operation_is() -> None:
    accepted = replace(POLICIES["/plinth.sites.v1.PageService/PublishPage"], success_status=202)
    operations = POLICIES["/plinth.operations.v1.OperationService/CancelOperation"]
    # An RPC of another domain, which answers with the operation that it has started.
    descriptor: Any = Answering(accepted.descriptor, operations.descriptor.output_type)
    started = replace(accepted, descriptor=descriptor)
    assert told(started, Operation(id="o"), PublishPageRequest(), metadata=REST) == {
        "location": "/api/v1/long-operations/o",
        HTTP_STATUS: "202",
    }


def test_grpc_gets_only_what_its_answer_does_not_say() -> None:
    page, request = Page(id="p", etag=ETAG), CreatePageRequest(tenant_id="t")
    assert told(CREATE, page, request, metadata={}, **LIMITED) == {}
    assert told(CREATE, page, request, metadata={}, is_replay=True) == {"idempotent-replay": "true"}


def test_a_plain_answer_has_nothing_beside_it() -> None:
    assert told(GET, Page(), metadata=REST) == {}


@pytest.mark.parametrize("answer", [ListPagesResponse(), b"serialised"])
def test_an_answer_without_an_etag_of_its_own_has_that_of_the_cache_or_none(answer: Answer) -> None:
    assert told(LIST, answer, ListPagesRequest(), metadata=REST) == {}
    assert told(LIST, answer, ListPagesRequest(), metadata=REST, etag=ETAG) == {"etag": ETAG}


@pytest.mark.parametrize(
    ("wanted", "status"), [(ETAG, "304"), ("*", "304"), (f'W/"2", {ETAG}', "304"), ('W/"2"', None), ("", None)]
)
def test_what_the_caller_has_already_is_not_sent_again(wanted: str, status: str | None) -> None:
    metadata = {**REST, "if_none_match": wanted}
    assert told(GET, Page(etag=ETAG), metadata=metadata).get(HTTP_STATUS) == status
    assert told(GET, b"serialised", metadata=metadata, etag=ETAG).get(HTTP_STATUS) == status


def test_a_change_is_never_what_the_caller_has_already() -> None:
    metadata, request = {**REST, "if_none_match": ETAG}, CreatePageRequest(tenant_id="t")
    assert told(CREATE, Page(id="p", etag=ETAG), request, metadata=metadata)[HTTP_STATUS] == "201"


def test_a_replay_on_the_event_loop_says_that_it_is_one() -> None:
    context = AsyncContext(**REST)
    one = call(WAIT, context)
    one.is_replay = True

    async def answers(_call: Call, _request: Any) -> AsyncIterator[Message]:
        yield Operation(id="o")

    async def run() -> list[Message]:
        return [message async for message in Respond().stream(WAIT, answers)(one, None)]

    assert asyncio.run(run()) == [Operation(id="o")]
    assert REPLAYED[0] in context.trailing
