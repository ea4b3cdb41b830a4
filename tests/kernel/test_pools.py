"""Calls get a thread when their message is there: what CallThreads does instead of grpc/_server.py, from outside."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from plinth.sites.v1.page_pb2 import GetPageRequest, Page

from server.kernel.guard import pools
from server.kernel.guard.pools import CallThreads, queue_bounds, set_headers
from server.kernel.policy import Criticality
from tests.stack import PATIENCE, wait_for

METHOD = "/plinth.sites.v1.PageService/GetPage"


class Server:
    """A server with one thread, whose GetPage answers the id it was asked for."""

    def __init__(self) -> None:
        self.threads = CallThreads(1)
        self.context: Any = None
        """Of the last call."""
        self.hold = threading.Event()
        self.hold.set()
        self._server = grpc.server(self.threads)
        handler = grpc.unary_unary_rpc_method_handler(self._answer, GetPageRequest.FromString, Page.SerializeToString)
        self._server.add_registered_method_handlers("plinth.sites.v1.PageService", {"GetPage": handler})
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def _answer(self, request: GetPageRequest, context: Any) -> Page:
        self.context = context
        set_headers(context, (("x-page", request.page_id),))
        if request.page_id == "raise":
            raise ValueError(request.page_id)
        if request.page_id == "abort":
            context.abort(grpc.StatusCode.ABORTED, "as asked")
        assert self.hold.wait(PATIENCE)
        return Page(id=request.page_id)

    def ask(self, page_id: str) -> Page:
        """One ordinary call."""
        answer: Page = self.begin(page_id).result()
        return answer

    def begin(self, page_id: str) -> Any:
        """An ordinary call that goes on."""
        call: Any = self.channel.unary_unary(
            METHOD, request_serializer=GetPageRequest.SerializeToString, response_deserializer=Page.FromString
        )
        return call.future(GetPageRequest(page_id=page_id), timeout=PATIENCE)

    def open(self, messages: Iterator[bytes]) -> Any:
        """A call whose message comes later: to the server it looks like any other one."""
        call: Any = self.channel.stream_unary(METHOD, response_deserializer=Page.FromString)
        return call.future(messages, timeout=PATIENCE)

    def close(self) -> None:
        """Stop it."""
        self.channel.close()
        self._server.stop(0).wait()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_a_call_without_its_message_holds_no_thread(server: Server) -> None:
    sent = threading.Event()

    def slowly() -> Iterator[bytes]:
        assert sent.wait(PATIENCE)
        yield GetPageRequest(page_id="late").SerializeToString()

    late = server.open(slowly())
    assert [server.ask(name).id for name in ("a", "b")] == ["a", "b"]
    assert not late.done()
    sent.set()
    assert late.result().id == "late"


def test_a_call_that_never_sends_a_message_is_refused(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        server.open(iter(())).result()
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "requires exactly one request message" in str(refused.value.details())
    assert server.ask("next").id == "next"


def test_a_call_that_is_cancelled_before_its_message_leaves_nothing_behind(server: Server) -> None:
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait(PATIENCE)
        yield from ()

    calls = [server.open(nothing()) for _ in range(3)]
    assert server.ask("first").id == "first"
    for call in calls:
        call.cancel()
    assert server.ask("second").id == "second"
    never.set()


def test_a_call_that_is_cancelled_while_it_is_served_leaves_nothing_behind(server: Server) -> None:
    server.hold.clear()
    call = server.begin("given up")
    wait_for(lambda: server.context is not None, what="the call")
    call.cancel()
    wait_for(lambda: not server.context.is_active(), what="the end of the call")
    server.hold.set()
    assert server.ask("next").id == "next"


def test_headers_come_ahead_of_the_answer_and_are_those_of_the_call(server: Server) -> None:
    for page_id in ("one", "other"):
        call = server.begin(page_id)
        assert dict(call.initial_metadata())["x-page"] == page_id
        assert call.result().id == page_id
        assert call.trailing_metadata() == ()


def test_a_call_that_fails_for_no_reason_of_its_own_is_told_in_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(pools, "_argument", lambda *_: 1 / 0)
        call = server.begin("lost")
        wait_for(lambda: "a call could not be answered" in caplog.text, what="the log line")
    call.cancel()
    assert server.ask("next").id == "next"


def test_what_is_no_message_is_refused(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        server.open(iter([b"\xff\xff"])).result()
    assert refused.value.code() == grpc.StatusCode.INTERNAL
    assert server.ask("next").id == "next"


@pytest.mark.parametrize(("page_id", "code"), [("raise", "UNKNOWN"), ("abort", "ABORTED")])
def test_a_call_that_fails_is_told(server: Server, page_id: str, code: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        server.ask(page_id)
    assert refused.value.code().name == code
    assert server.ask("next").id == "next"


def test_calls_wait_for_a_thread_in_a_queue_that_can_be_seen(server: Server) -> None:
    server.hold.clear()
    with ThreadPoolExecutor(4) as callers:
        answers = [callers.submit(server.ask, str(number)) for number in range(4)]
        wait_for(lambda: server.threads.waiting == 3, what="the queue")
        server.hold.set()
        assert [answer.result().id for answer in answers] == ["0", "1", "2", "3"]
    assert server.threads.waiting == 0


def test_other_work_runs_as_in_any_pool() -> None:
    with CallThreads(1) as threads:
        assert threads.submit(lambda *given, **named: (given, named), 1, two=2).result() == ((1,), {"two": 2})


def test_the_least_critical_goes_first() -> None:
    bounds = queue_bounds(10)
    assert bounds[Criticality.SHEDDABLE] < bounds[Criticality.NORMAL] < bounds[Criticality.CRITICAL]
    assert set(bounds) == set(Criticality)
