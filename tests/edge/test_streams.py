"""Live streams: server-sent events for browsers, typed streams for services."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.api import httpbody_pb2
from plinth.sites.v1 import page_pb2

from server.kernel.steps.errors import NO_MESSAGE
from tests.edge.gateway import ORIGIN, PAGES, PATIENCE, Gateway, running

STREAM_PAGES = "/plinth.sites.v1.PageService/StreamPages"
WATCH_PAGES = "/plinth.sites.v1.PageService/WatchPages"
LIST_PAGES = "/plinth.sites.v1.PageService/ListPages"


def frame(text: str) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="text/event-stream", data=text.encode())


def test_events_arrive_one_by_one(gateway: Gateway, client: httpx.Client) -> None:
    first_seen = threading.Event()

    def answer(_request: Any, _context: grpc.ServicerContext) -> Iterator[httpbody_pb2.HttpBody]:
        yield frame("id: 1\nevent: page.created\ndata: {}\n\n")
        assert first_seen.wait(PATIENCE), "the first event was held back"
        yield frame(": keep-alive\n\n" * 200)
        yield frame("id: 2\nevent: page.updated\ndata: {}\n\n")

    gateway.realtime[0].answers[STREAM_PAGES] = answer
    headers = {"last-event-id": "0", "origin": ORIGIN, "accept": "text/event-stream", "accept-encoding": "gzip"}
    with client.stream("GET", f"{PAGES}/stream?access_token=t", headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-cache"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["access-control-allow-origin"] == ORIGIN
        assert not stream.headers.keys() & {"content-encoding", "content-length", "grpc-status", "grpc-accept-encoding"}
        chunks = stream.iter_text()
        text = next(chunks)
        assert text == "id: 1\nevent: page.created\ndata: {}\n\n"
        first_seen.set()
        text += "".join(chunks)
    assert text.endswith("id: 2\nevent: page.updated\ndata: {}\n\n")
    call = gateway.realtime[0].calls[-1]
    assert call.metadata["last-event-id"] == "0"
    assert call.request.access_token == "t"
    assert call.time_remaining is None or call.time_remaining > 1e9, "a stream has no deadline"
    assert not gateway.backend.calls


def test_a_stream_that_fails_at_once_is_an_ordinary_error(gateway: Gateway, client: httpx.Client) -> None:
    def answer(_request: Any, context: grpc.ServicerContext) -> Iterator[httpbody_pb2.HttpBody]:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        yield frame("")

    gateway.realtime[0].answers[STREAM_PAGES] = answer
    answer_seen = client.get(f"{PAGES}/stream")
    assert answer_seen.status_code == 401
    assert answer_seen.headers["content-type"] == "application/json"
    assert answer_seen.json() == {"code": 16, "message": "no", "details": []}


class Broken:
    """Takes the place of a message."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages name it
        return NO_MESSAGE


def test_a_file_whose_stream_breaks_is_cut_off(gateway: Gateway, client: httpx.Client) -> None:
    """With a status alone it would end as if it were whole."""

    def answer(_request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.send_initial_metadata((("content-disposition", 'attachment; filename="a.csv"'),))
        yield httpbody_pb2.HttpBody(content_type="text/csv", data=b"id\r\n")
        yield Broken()
        context.abort(grpc.StatusCode.UNAVAILABLE, "no")

    gateway.realtime[0].answers[STREAM_PAGES] = answer
    with client.stream("GET", f"{PAGES}/stream", headers={"accept": "text/csv"}) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"] == "text/csv"
        assert stream.headers["content-disposition"] == 'attachment; filename="a.csv"'
        with pytest.raises(httpx.RemoteProtocolError):
            stream.read()


def test_the_server_learns_that_a_browser_left(gateway: Gateway) -> None:
    left = threading.Event()

    def answer(_request: Any, context: grpc.ServicerContext) -> Iterator[httpbody_pb2.HttpBody]:
        context.add_callback(left.set)
        yield frame(": hello\n\n")
        left.wait(PATIENCE)

    gateway.realtime[0].answers[STREAM_PAGES] = answer
    with gateway.http.stream("GET", f"{PAGES}/stream") as stream:
        next(stream.iter_text())
    assert left.wait(PATIENCE)


def test_a_typed_stream(gateway: Gateway) -> None:
    gateway.realtime[0].answers[WATCH_PAGES] = lambda *_: iter([page_pb2.PageEvent(id="1"), page_pb2.PageEvent(id="2")])
    with gateway.pages() as pages:
        events = pages.WatchPages(page_pb2.WatchPagesRequest(tenant_id="t"))
        assert [event.id for event in events] == ["1", "2"]
    assert gateway.realtime[0].calls[-1].request.tenant_id == "t"
    assert not gateway.backend.calls


def test_streams_outlive_the_timeout_of_answers_and_die_when_they_fall_silent() -> None:
    beats = 4

    def answer(_request: Any, context: grpc.ServicerContext) -> Iterator[httpbody_pb2.HttpBody]:
        left = threading.Event()
        context.add_callback(left.set)
        for _ in range(beats):
            yield frame(": keep-alive\n\n")
            left.wait(0.05)
        left.wait(PATIENCE)

    with running(gateway_timeout=0.1, stream_keepalive=0.5) as gateway:
        gateway.realtime[0].answers[STREAM_PAGES] = answer
        with gateway.http.stream("GET", f"{PAGES}/stream") as stream:
            chunks = stream.iter_text()
            assert "".join(next(chunks) for _ in range(beats)) == ": keep-alive\n\n" * beats
            with pytest.raises(httpx.RemoteProtocolError):
                next(chunks)
