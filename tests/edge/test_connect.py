"""Unary calls of Connect through the same port: https://connectrpc.com/docs/protocol."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from plinth.sites.v1 import page_pb2

from server.gateway.body_limits import READ_BYTES
from server.gateway.put_aside import PUT_ASIDE
from tests.edge.gateway import ORIGIN, Gateway, eventually, running

SERVICE = "/plinth.sites.v1.PageService"
GET_PAGE = f"{SERVICE}/GetPage"
CREATE_PAGE = f"{SERVICE}/CreatePage"
ASKED = page_pb2.GetPageRequest(page_id="1")
PROTO, JSON = "application/proto", "application/json"
both = pytest.mark.parametrize("kind", [PROTO, JSON])
LARGE = 3 * 1024 * 1024


def body_of(kind: str, message: Message) -> bytes:
    """A message as Connect sends it."""
    return message.SerializeToString() if kind == PROTO else json_format.MessageToJson(message).encode()


def call(
    client: httpx.Client, kind: str, message: Message = ASKED, path: str = GET_PAGE, /, **headers: str
) -> httpx.Response:
    """A unary call as Connect's clients make it."""
    own = {"content-type": kind, "connect-protocol-version": "1"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=body_of(kind, message), headers=own | given)


def page_of(kind: str, answer: httpx.Response) -> page_pb2.Page:
    """The message of a successful answer."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind), answer.text
    if kind == PROTO:
        return page_pb2.Page.FromString(answer.content)
    return json_format.Parse(answer.content, page_pb2.Page())


def error_of(answer: httpx.Response) -> tuple[int, str, str, dict[str, str]]:
    """Status, code, reason and metadata of an error. The rest of its form is checked."""
    assert answer.headers["content-type"] == JSON
    error = answer.json()
    assert error.keys() == {"code", "message", "details"}
    assert error["message"]
    details = {each["type"]: base64.b64decode(each["value"] + "==") for each in error["details"]}
    info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    assert info.domain == "plinth"
    request = error_details_pb2.RequestInfo.FromString(details["google.rpc.RequestInfo"])
    assert request.request_id == answer.headers["x-request-id"]
    return answer.status_code, error["code"], info.reason, dict(info.metadata)


def titled(_request: Any, context: grpc.ServicerContext) -> page_pb2.Page:
    context.set_trailing_metadata((("idempotent-replay", "true"),))
    return page_pb2.Page(title="Zürich")


@both
def test_a_call(gateway: Gateway, client: httpx.Client, kind: str) -> None:
    gateway.backend.answers[GET_PAGE] = titled
    forged = {"x_plinth_connect": "forged", "x_plinth_json_keys": "forged", "x_http_status": "500"}
    answer = call(client, kind, x_request_id="mine", authorization="Bearer x", idempotency_key="k", **forged)
    assert page_of(kind, answer).title == "Zürich"
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["trailer-idempotent-replay"] == "true"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith(("grpc-", "x-plinth", "x-http", "x-envoy"))]
    seen = gateway.backend.calls[-1]
    assert seen.request == ASKED
    assert (seen.metadata["authorization"], seen.metadata["idempotency-key"]) == ("Bearer x", "k")
    # The server takes a call for one over REST by this header.
    assert "x-envoy-original-path" not in seen.metadata
    assert not seen.metadata.keys() & {*PUT_ASIDE, "x-http-status"}
    assert seen.metadata.get("x-plinth-json-keys") == (None if kind == PROTO else "pageId")


@both
def test_a_message_without_fields_is_an_empty_body(gateway: Gateway, client: httpx.Client, kind: str) -> None:
    answer = client.post(GET_PAGE, content=b"", headers={"content-type": kind})
    assert page_of(kind, answer) == page_pb2.Page()
    assert gateway.backend.calls[-1].request == page_pb2.GetPageRequest()


@both
def test_clients_may_leave_the_version_out(client: httpx.Client, kind: str) -> None:
    answer = client.post(GET_PAGE, content=body_of(kind, ASKED), headers={"content-type": kind})
    assert page_of(kind, answer) == page_pb2.Page()


@both
def test_an_answer_may_be_larger_than_what_is_held_of_a_request(
    gateway: Gateway, client: httpx.Client, kind: str
) -> None:
    gateway.backend.answers[GET_PAGE] = lambda _request, _context: page_pb2.Page(title="x" * LARGE)
    assert len(page_of(kind, call(client, kind)).title) == LARGE


# Errors --------------------------------------------------------------------------------------------------------------


def refuse(context: grpc.ServicerContext) -> None:
    status = status_pb2.Status(code=9, message='The page "a" is no draft: Zürich.')
    for detail in (
        error_details_pb2.ErrorInfo(reason="STATE_FORBIDS", domain="plinth", metadata={"state": "published"}),
        error_details_pb2.RequestInfo(request_id="mine"),
        error_details_pb2.Help(),
    ):
        status.details.add().Pack(detail)
    details = ("grpc-status-details-bin", status.SerializeToString())
    context.set_trailing_metadata((details, ("x-request-id", "mine")))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, status.message)


def at_once(_request: Any, context: grpc.ServicerContext) -> Any:
    refuse(context)


def after_its_headers(_request: Any, context: grpc.ServicerContext) -> Any:
    context.send_initial_metadata((("etag", "x"),))
    refuse(context)


@both
@pytest.mark.parametrize("refusing", [at_once, after_its_headers])
def test_an_error_of_the_server_keeps_its_details(
    gateway: Gateway, client: httpx.Client, kind: str, refusing: Callable[..., Any]
) -> None:
    gateway.backend.answers[GET_PAGE] = refusing
    answer = call(client, kind, x_request_id="mine")
    assert error_of(answer) == (400, "failed_precondition", "STATE_FORBIDS", {"state": "published"})
    assert answer.json()["message"] == 'The page "a" is no draft: Zürich.'
    assert [each["type"] for each in answer.json()["details"]] == [
        f"google.rpc.{name}" for name in ("ErrorInfo", "RequestInfo", "Help")
    ]
    assert not [name for name in answer.headers if name.startswith("grpc-")]


@both
@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_its_name_and_status(gateway: Gateway, kind: str, code: grpc.StatusCode) -> None:
    gateway.backend.answers[GET_PAGE] = lambda _request, context: context.abort(code, "50 % of Zürich")
    answer = call(gateway.http, kind)
    name = "canceled" if code is grpc.StatusCode.CANCELLED else code.name.lower()
    assert answer.json() == {"code": name, "message": "50 % of Zürich", "details": []}
    assert answer.status_code == {
        "canceled": 499, "invalid_argument": 400, "deadline_exceeded": 504, "not_found": 404, "already_exists": 409,
        "permission_denied": 403, "resource_exhausted": 429, "failed_precondition": 400, "aborted": 409,
        "out_of_range": 400, "unimplemented": 501, "unavailable": 503, "unauthenticated": 401,
    }.get(name, 500)  # fmt: skip


@both
@pytest.mark.parametrize("path", [f"{SERVICE}/Nope", f"{SERVICE}/WatchPages", "/plinth.nope.v1.Nope/Get", "/plinth.x"])
def test_what_is_no_unary_rpc_is_not_implemented(client: httpx.Client, kind: str, path: str) -> None:
    assert error_of(call(client, kind, ASKED, path)) == (404, "unimplemented", "ROUTE_NOT_FOUND", {})


@pytest.mark.parametrize("kind", ["application/connect+proto", "application/connect+json", "text/plain", ""])
def test_other_bodies_are_refused(gateway: Gateway, client: httpx.Client, kind: str) -> None:
    refused = error_of(call(client, kind, ASKED))
    assert refused == (415, "invalid_argument", "CONTENT_TYPE_UNSUPPORTED", {})
    assert not gateway.backend.calls


@both
@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"content_encoding": "gzip"}, (415, "unimplemented", "CONTENT_TYPE_UNSUPPORTED", {})),
        ({"connect_protocol_version": "2"}, (400, "invalid_argument", "MALFORMED", {})),
        ({"connect_timeout_ms": "1s"}, (400, "invalid_argument", "MALFORMED", {})),
        ({"connect_timeout_ms": "12345678901"}, (400, "invalid_argument", "MALFORMED", {})),
    ],
    ids=str,
)
def test_headers_that_mean_nothing_are_refused(
    gateway: Gateway, client: httpx.Client, kind: str, headers: dict[str, str], refused: tuple[Any, ...]
) -> None:
    assert error_of(call(client, kind, **headers)) == refused
    assert not gateway.backend.calls


@both
def test_headers_that_are_too_large_are_refused(gateway: Gateway, kind: str) -> None:
    limit = gateway.settings.max_header_kilobytes * 1024
    refused = (431, "invalid_argument", "TOO_LARGE", {"limit_bytes": str(limit)})
    assert error_of(call(gateway.http, kind, x_large="x" * limit)) == refused


@pytest.mark.parametrize(
    ("body", "metadata", "words"),
    [
        ('{"pageId": 1}', {"field": "pageId"}, "`pageId` has to be text"),
        ('{"pageId": "1', {}, "Byte 14 of the body"),
        ('{"pageId": "1", "pageId": "2"}', {"field": "pageId"}, "twice"),
        ("[]", {}, "has to be a JSON object"),
    ],
)  # fmt: skip
def test_json_that_means_nothing_is_refused_in_words(
    client: httpx.Client, body: str, metadata: dict[str, str], words: str
) -> None:
    answer = client.post(GET_PAGE, content=body, headers={"content-type": JSON})
    assert error_of(answer) == (400, "invalid_argument", "MALFORMED", metadata)
    assert words in answer.json()["message"]


def test_what_the_transcoder_refuses_is_told_as_connect_tells_it(client: httpx.Client) -> None:
    body = {"page": {"status": "NO_SUCH"}}
    answer = client.post(CREATE_PAGE, json=body, headers={"content-type": JSON})
    assert error_of(answer) == (400, "invalid_argument", "MALFORMED", {"field": "page.status"})


# Limits --------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_body_larger_than_the_rpc_takes_is_refused(
    gateway: Gateway, client: httpx.Client, kind: str, *, told: bool
) -> None:
    pieces: Iterator[bytes] | bytes = b" " * 5000 if told else iter([b" " * 2500] * 2)
    answer = client.post(GET_PAGE, content=pieces, headers={"content-type": kind})
    assert error_of(answer) == (413, "invalid_argument", "TOO_LARGE", {"limit_bytes": "4096"})
    assert not gateway.backend.calls


@both
def test_no_request_is_held_that_is_larger_than_any_may_be(gateway: Gateway, kind: str) -> None:
    pieces = (b" " * 65536 for _ in range(2 * READ_BYTES // 65536))
    # Over HTTP/1.1: this client does not read an answer over HTTP/2 that comes while it sends.
    answer = gateway.http.post(GET_PAGE, content=pieces, headers={"content-type": kind})
    assert error_of(answer) == (413, "invalid_argument", "TOO_LARGE", {"limit_bytes": str(READ_BYTES)})


@both
def test_large_bodies_need_credentials(gateway: Gateway, client: httpx.Client, kind: str) -> None:
    large = page_pb2.CreatePageRequest(page=page_pb2.Page(title="x" * 6000))
    answer = call(client, kind, large, CREATE_PAGE)
    assert error_of(answer) == (401, "unauthenticated", "CREDENTIALS_MISSING", {})
    assert not gateway.backend.calls
    assert call(client, kind, large, CREATE_PAGE, authorization="Bearer x").status_code == 200


@both
def test_large_bodies_with_bad_credentials_come_only_so_often(kind: str) -> None:
    large = page_pb2.CreatePageRequest(page=page_pb2.Page(title="x" * 6000))
    with running() as own:
        own.backend.answers[CREATE_PAGE] = lambda _request, context: context.abort(
            grpc.StatusCode.UNAUTHENTICATED, "no"
        )
        answers = [call(own.http, kind, large, CREATE_PAGE, authorization="Bearer bad") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert error_of(answers[-1])[1:3] == ("resource_exhausted", "RATE_LIMITED")
        assert len(own.backend.calls) == 3


@both
@pytest.mark.parametrize(("told", "seconds"), [("5000", 5), ("100000000", 100_000), ("9999999999", 9_999_999)], ids=str)
def test_a_deadline_reaches_the_server(
    gateway: Gateway, client: httpx.Client, kind: str, told: str, seconds: float
) -> None:
    assert page_of(kind, call(client, kind, connect_timeout_ms=told)) == page_pb2.Page()
    remaining = gateway.backend.calls[-1].time_remaining
    assert remaining is not None
    assert seconds / 2 < remaining <= seconds


@both
def test_without_a_deadline_there_is_the_gateways(gateway: Gateway, client: httpx.Client, kind: str) -> None:
    call(client, kind)
    remaining = gateway.backend.calls[-1].time_remaining
    assert remaining is not None
    assert gateway.settings.gateway_timeout / 2 < remaining < gateway.settings.gateway_timeout + 0.3


@both
def test_a_deadline_that_passes_is_told(gateway: Gateway, client: httpx.Client, kind: str) -> None:
    def wait(_request: Any, context: grpc.ServicerContext) -> page_pb2.Page:
        eventually(lambda: not context.is_active(), "the call is over")
        return page_pb2.Page()

    gateway.backend.answers[GET_PAGE] = wait
    answer = call(client, kind, connect_timeout_ms="50")
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


@both
def test_what_runs_on_asyncio_is_called_there(gateway: Gateway, client: httpx.Client, kind: str) -> None:
    path = "/plinth.operations.v1.OperationService/WaitOperation"
    assert client.post(path, content=b"", headers={"content-type": kind}).status_code == 200
    assert [each.path for each in gateway.realtime[0].calls] == [path]


@both
def test_a_server_that_is_away_is_told_with_when_to_try_again(kind: str) -> None:
    with running(api=0) as own:
        answer = call(own.http, kind)
        refused = (503, "unavailable", "DEPENDENCY_UNAVAILABLE", {"dependency": "server"})
        assert error_of(answer) == refused
        retry = next(each for each in answer.json()["details"] if each["type"] == "google.rpc.RetryInfo")
        delay = error_details_pb2.RetryInfo.FromString(base64.b64decode(retry["value"] + "==")).retry_delay
        assert delay.seconds == 1


# Pages of browsers ---------------------------------------------------------------------------------------------------


def test_a_page_may_send_what_connect_sends_and_read_what_it_answers(gateway: Gateway, client: httpx.Client) -> None:
    asked = "authorization,connect-protocol-version,connect-timeout-ms,content-type,idempotency-key"
    preflight = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": asked,
    }
    allowed = client.options(GET_PAGE, headers=preflight)
    assert allowed.status_code == 200
    assert set(asked.split(",")) <= set(allowed.headers["access-control-allow-headers"].split(", "))
    gateway.backend.answers[GET_PAGE] = titled
    answer = call(client, JSON, origin=ORIGIN)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert {"trailer-idempotent-replay", "x-request-id"} <= set(
        answer.headers["access-control-expose-headers"].split(", ")
    )
    refused = call(client, PROTO, ASKED, f"{SERVICE}/Nope", origin=ORIGIN)
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    other = call(client, JSON, origin="https://evil.example")
    assert not [name for name in other.headers if name.startswith("access-control-")]


def test_rest_at_other_paths_stays_rest(client: httpx.Client) -> None:
    """With the header of Connect as well, which other software may send."""
    answer = client.post("/api/v1/nope", json={}, headers={"connect-protocol-version": "1"})
    assert answer.status_code == 404
    assert json.loads(answer.text)["code"] == 5
