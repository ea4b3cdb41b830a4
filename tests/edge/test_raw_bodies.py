"""Raw bodies at the gateway: what is passed on as it is, what is refused, and which pages may call."""

import gzip
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.api.httpbody_pb2 import HttpBody

from tests.clients import problem
from tests.edge import backend
from tests.edge.gateway import ORIGIN, Gateway, running
from tests.inbound import contract

REPORT, IMAGE, CHECK, RECEIVE = (
    f"/{contract.PACKAGE}.HookService/{name}" for name in ("TakeReport", "TakeImage", "CheckHook", "ReceiveHook")
)
REPORTS = "/api/v1/reports/7/envelope"
STRANGER = "https://anywhere.example"
TOKEN = {"authorization": "Bearer x"}


@pytest.fixture(scope="module")
def hooked() -> Iterator[Gateway]:
    own = {f"/{contract.SERVICE.full_name}/{method.name}": method for method in contract.SERVICE.methods}
    backend.METHODS.update(own)
    with running(descriptors=contract.descriptors()) as gateway:
        yield gateway
    for path in own:
        del backend.METHODS[path]


@pytest.fixture
def gateway(hooked: Gateway) -> Iterator[Gateway]:
    yield hooked
    hooked.backend.forget()


def last(gateway: Gateway) -> Any:
    return gateway.backend.calls[-1]


KINDS = ("text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x/y")


@pytest.mark.parametrize("kind", [*KINDS, "application/json", "application/x-sentry-envelope"])
def test_a_body_arrives_as_it_was_sent(client: httpx.Client, gateway: Gateway, kind: str) -> None:
    sent = b'{"a": 1,  "a": 2}\r\n\0\xff+%20'
    done = client.post(REPORTS, content=sent, headers={"content-type": kind})
    assert done.status_code == 200
    assert (last(gateway).request.body.data, last(gateway).request.body.content_type) == (sent, kind)
    assert last(gateway).request.project == 7


@pytest.mark.parametrize("sent", [b"", b"x" * 262_144])
def test_of_any_size_up_to_the_limit_and_without_a_type(client: httpx.Client, gateway: Gateway, sent: bytes) -> None:
    assert client.post(REPORTS, content=sent).status_code == 200
    assert last(gateway).request.body.data == sent


def test_a_larger_one_is_refused_and_reaches_nobody(client: httpx.Client, gateway: Gateway) -> None:
    told = client.post(REPORTS, content=b"x" * 262_145)
    untold = client.post(REPORTS, content=(b"x" * 65_536 for _ in range(5)))
    for refused in (told, untold):
        assert (refused.status_code, problem(refused).reason) == (413, "TOO_LARGE")
        assert problem(refused).metadata["limit_bytes"] == "262144"
    assert gateway.backend.calls == []


def test_other_types_than_those_declared_are_refused(client: httpx.Client, gateway: Gateway) -> None:
    for kind in ("image/png", "IMAGE/PNG; q=1", "application/x-www-form-urlencoded; charset=utf-8"):
        assert client.post("/api/v1/images", content=b"x", headers=TOKEN | {"content-type": kind}).status_code == 200
    for headers in ({"content-type": "text/plain"}, {"content-type": "image"}, {}):
        refused = client.post("/api/v1/images", content=b"x", headers=TOKEN | headers)
        assert (refused.status_code, problem(refused).reason) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert len(gateway.backend.calls) == 3


def test_large_bodies_without_credentials_are_refused_where_these_are_needed(
    client: httpx.Client, gateway: Gateway
) -> None:
    answer = client.post("/api/v1/images", content=b"x" * 20_000, headers={"content-type": "image/png"})
    assert answer.status_code == 401
    assert gateway.backend.calls == []


@pytest.mark.parametrize(("sent", "told"), [("gzip", "gzip"), ("X-GZIP", "gzip"), ("br", "br"), ("zstd", "zstd")])
def test_the_server_is_told_the_encoding(client: httpx.Client, gateway: Gateway, sent: str, told: str) -> None:
    body = gzip.compress(b"x" * 1000)
    forged = {"x-plinth-content-encoding": "identity"}
    done = client.post(REPORTS, content=body, headers=forged | {"content-encoding": sent})
    assert done.status_code == 200
    assert last(gateway).request.body.data == body
    assert last(gateway).metadata["x-plinth-content-encoding"] == told
    assert "content-encoding" not in last(gateway).metadata


def test_encodings_are_refused_where_none_is_declared(client: httpx.Client, gateway: Gateway) -> None:
    cases = [
        (REPORTS, [("content-encoding", "compress")]),
        (REPORTS, [("content-encoding", "gzip, br")]),
        (REPORTS, [("content-encoding", "gzip"), ("content-encoding", "br")]),
        ("/api/v1/images", [("content-encoding", "gzip"), ("content-type", "image/png"), *TOKEN.items()]),
    ]
    for path, headers in cases:
        refused = client.post(path, content=b"x", headers=headers)
        assert (refused.status_code, problem(refused).reason) == (415, "CONTENT_TYPE_UNSUPPORTED")
    client.post(REPORTS, content=b"x", headers={"x-plinth-content-encoding": "gzip"})
    assert [call.metadata.get("x-plinth-content-encoding") for call in gateway.backend.calls] == [None]


def test_parameters_of_the_query(client: httpx.Client, gateway: Gateway) -> None:
    assert client.post(f"{REPORTS}?report_key=k", content=b"x").status_code == 200
    assert last(gateway).request.report_key == "k"
    refused = client.post(f"{REPORTS}?report_kay=k", content=b"x")
    assert (refused.status_code, problem(refused).reason) == (400, "UNKNOWN_FIELD")
    assert client.post(f"{REPORTS}?body=k", content=b"x").status_code == 400


def test_parameters_of_messages_in_the_request(client: httpx.Client, gateway: Gateway) -> None:
    done = client.get("/api/v1/hooks/r?hub.mode=subscribe&hub.challenge=1%2B2&hub.verify_token=t")
    assert done.status_code == 200
    hub = last(gateway).request.hub
    assert (hub.mode, hub.challenge, hub.verify_token) == ("subscribe", "1+2", "t")
    assert client.get("/api/v1/hooks/r?hub.mod=subscribe").status_code == 400


def test_parameters_that_nobody_declared_are_dropped_where_a_policy_says_so(
    client: httpx.Client, gateway: Gateway
) -> None:
    headers = {"content-type": "application/json"}
    query = "utm.source=a&ver%73ion=2&route=x&body=y&x&=&a=b=c"
    assert client.post(f"/api/v1/hooks/r?{query}", content=b"{}", headers=headers).status_code == 200
    assert (last(gateway).request.version, last(gateway).request.route) == ("2", "r")
    assert client.post("/api/v1/hooks/r?a=1", content=b"{}", headers=headers).status_code == 200
    twice = client.post("/api/v1/hooks/r?version=1&version=2", content=b"{}", headers=headers)
    assert twice.status_code == 400


def test_a_slash_at_the_end_is_its_caller_s_choice(client: httpx.Client, gateway: Gateway) -> None:
    assert client.post(f"{REPORTS}/?report_key=k", content=b"x").status_code == 200
    assert last(gateway).request.report_key == "k"
    assert client.post(f"{REPORTS}/", content=b"x").status_code == 200
    for path in (f"{REPORTS}//", "/api/v1/hooks/r/", f"{REPORTS}/?a"):
        assert client.get(path).status_code == 404, path


@pytest.mark.parametrize("origin", [STRANGER, ORIGIN, "null"])
@pytest.mark.parametrize("path", [REPORTS, f"{REPORTS}/", f"{REPORTS}?report_key=k"])
@pytest.mark.usefixtures("gateway")
def test_pages_of_any_origin_may_call_without_cookies(client: httpx.Client, path: str, origin: str) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "x-report-auth"}
    before = client.options(path, headers={"origin": origin} | asks)
    answer = client.post(path, content=b"x", headers={"origin": origin})
    refused = client.post(path, content=b"x" * 300_000, headers={"origin": origin})
    assert [before.status_code, answer.status_code, refused.status_code] == [200, 200, 413]
    for each in (before, answer, refused):
        assert each.headers.get_list("access-control-allow-origin") == ["*"]
        assert "access-control-allow-credentials" not in each.headers
    assert before.headers["access-control-allow-headers"] in ("*", "x-report-auth")
    assert "POST" in before.headers["access-control-allow-methods"]
    assert {"x-report-limits", "retry-after"} <= set(answer.headers["access-control-expose-headers"].split(", "))


@pytest.mark.usefixtures("gateway")
def test_no_other_call_takes_any_origin(client: httpx.Client) -> None:
    asks = {"origin": STRANGER, "access-control-request-method": "POST"}
    calls = (
        client.options("/api/v1/images", headers=asks),
        client.options(REPORTS, headers=asks | {"access-control-request-method": "GET"}),
        client.post("/api/v1/images", content=b"x", headers=TOKEN | {"content-type": "image/png", "origin": STRANGER}),
        client.get(REPORTS, headers={"origin": STRANGER}),
        client.post("/api/v1/reports/7/x/envelope", headers={"origin": STRANGER}),
    )
    for answer in calls:
        assert "access-control-allow-origin" not in answer.headers


def test_an_answer_of_raw_bytes(client: httpx.Client, gateway: Gateway) -> None:
    def challenge(_request: Any, context: Any) -> Any:
        context.set_trailing_metadata((("x-report-limits", "60:error"), ("x-http-status", "202")))
        return HttpBody(content_type="text/plain", data=b"1158201444")

    gateway.backend.answers[CHECK] = challenge
    answer = client.get("/api/v1/hooks/r")
    assert (answer.status_code, answer.text) == (202, "1158201444")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["x-report-limits"] == "60:error"
