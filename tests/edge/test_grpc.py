"""gRPC and gRPC-Web through the same port."""

import base64
import struct
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from plinth.sites.v1 import page_pb2

from server.gateway.clusters import HEALTH_SERVICE
from server.gateway.put_aside import PUT_ASIDE
from server.kernel.call import LIMIT
from tests.edge.gateway import Gateway

GET_PAGE = "/plinth.sites.v1.PageService/GetPage"


def titled(_request: Any, context: grpc.ServicerContext) -> page_pb2.Page:
    context.send_initial_metadata((("x-http-status", "201"), ("etag", 'W/"1"')))
    context.set_trailing_metadata((("x-trailing", "t"),))
    return page_pb2.Page(title="x")


def test_a_call(gateway: Gateway) -> None:
    gateway.backend.answers[GET_PAGE] = titled
    with gateway.pages() as pages:
        sent = (
            ("x-request-id", "mine"),
            ("x-plinth-json-keys", "forged"),
            (LIMIT, "default;1;60;0;60"),
            ("x-http-status", "500"),
            ("x-envoy-original-path", "/x"),
        )
        page, call = pages.GetPage.with_call(page_pb2.GetPageRequest(page_id="1"), metadata=sent, timeout=30)
    assert page.title == "x"
    headers = dict(call.initial_metadata())
    assert headers["etag"] == 'W/"1"'
    assert headers["x-request-id"] == "mine"
    assert "x-http-status" not in headers
    assert dict(call.trailing_metadata())["x-trailing"] == "t"
    seen = gateway.backend.calls[-1]
    assert seen.metadata["x-request-id"] == "mine"
    forged = {"x-plinth-json-keys", LIMIT, "x-http-status", "x-envoy-original-path"}
    assert not seen.metadata.keys() & {*forged, *PUT_ASIDE}
    assert seen.time_remaining is not None
    assert seen.time_remaining < 31


def test_a_call_without_a_deadline_gets_the_gateways(gateway: Gateway) -> None:
    with gateway.pages() as pages:
        pages.GetPage(page_pb2.GetPageRequest())
    remaining = gateway.backend.calls[-1].time_remaining
    assert remaining is not None
    # The gateway adds a little, and on its way the call loses what a busy machine takes.
    assert gateway.settings.gateway_timeout / 2 < remaining < gateway.settings.gateway_timeout + 0.3


def test_an_error_keeps_its_details(gateway: Gateway) -> None:
    def answer(_request: Any, context: grpc.ServicerContext) -> page_pb2.Page:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no")

    gateway.backend.answers[GET_PAGE] = answer
    with gateway.pages() as pages, pytest.raises(grpc.RpcError) as raised:
        pages.GetPage(page_pb2.GetPageRequest(), timeout=30)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    trailing: Any = raised.value.trailing_metadata()
    assert dict(trailing)["grpc-status-details-bin"] == b"\x08\x05"


def test_health_and_reflection(gateway: Gateway) -> None:
    with gateway.channel() as channel:
        probe: Any = health_pb2_grpc.HealthStub(channel)
        process = health_pb2.HealthCheckRequest(service=HEALTH_SERVICE)
        assert probe.Check(process, timeout=30).status == health_pb2.HealthCheckResponse.SERVING
        watch = probe.Watch(process, timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection.ServerReflectionInfo(iter([asked]), timeout=30)
        services = {service.name for service in next(iter(answers)).list_services_response.service}
    assert "plinth.sites.v1.PageService" in services


@pytest.mark.parametrize("kind", ["application/grpc-web+proto", "application/grpc-web-text+proto"])
def test_grpc_web(gateway: Gateway, client: httpx.Client, kind: str) -> None:
    gateway.backend.answers[GET_PAGE] = titled
    is_text = "text" in kind
    message = page_pb2.GetPageRequest(page_id="1").SerializeToString()
    body = b"\0" + struct.pack(">I", len(message)) + message
    headers = {"content-type": kind, "accept": kind, "x-grpc-web": "1", "x-plinth-json-keys": "forged"}
    answer = client.post(GET_PAGE, content=base64.b64encode(body) if is_text else body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["etag"] == 'W/"1"'
    assert "x-http-status" not in answer.headers
    frames = b"".join(map(base64.b64decode, _pieces(answer.text))) if is_text else answer.content
    size = struct.unpack(">I", frames[1:5])[0]
    assert page_pb2.Page.FromString(frames[5 : 5 + size]).title == "x"
    assert b"grpc-status:0" in frames[5 + size :]
    assert "x-plinth-json-keys" not in gateway.backend.calls[-1].metadata


def test_grpc_web_of_an_unknown_method(client: httpx.Client) -> None:
    kind = "application/grpc-web+proto"
    answer = client.post("/plinth.sites.v1.PageService/Nope", content=b"\0\0\0\0\0", headers={"content-type": kind})
    assert answer.headers["grpc-status"] == "12"


def _pieces(text: str) -> list[str]:
    """The base64 pieces of a grpc-web-text body, each of which may end in padding."""
    pieces = text.replace("=", "=|").replace("=|=|", "==|").split("|")
    return [piece for piece in pieces if piece]
