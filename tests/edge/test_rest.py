"""REST as a browser sees it: verbs, statuses, headers."""

from typing import Any

import grpc
import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from plinth.policy.v1 import policy_pb2
from plinth.sites.v1 import page_pb2

from server.gateway.contract import verb_and_pattern
from server.gateway.put_aside import PUT_ASIDE
from server.kernel.call import LIMIT
from server.kernel.policy import VARIABLE
from tests.edge.backend import METHODS, Answer
from tests.edge.gateway import PAGES, TENANT, Gateway, running

GET_PAGE = "/plinth.sites.v1.PageService/GetPage"
CREATE_PAGE = "/plinth.sites.v1.PageService/CreatePage"
DELETE_PAGE = "/plinth.sites.v1.PageService/DeletePage"
LIST_PAGES = "/plinth.sites.v1.PageService/ListPages"
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def answering(response: Message, **headers: str) -> Answer:
    """Answer with initial metadata; underscores in names stand for hyphens."""

    def answer(_request: Any, context: grpc.ServicerContext) -> Message:
        context.send_initial_metadata(tuple((name.replace("_", "-"), value) for name, value in headers.items()))
        return response

    return answer


def failing(code: int, detail: Message, **headers: str) -> Answer:
    """Abort with a google.rpc.Status after the initial metadata."""

    def answer(_request: Any, context: grpc.ServicerContext) -> Message:
        context.send_initial_metadata(tuple((name.replace("_", "-"), value) for name, value in headers.items()))
        packed = any_pb2.Any()
        packed.Pack(detail)
        status = status_pb2.Status(code=code, message="no", details=[packed])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(next(each for each in grpc.StatusCode if each.value[0] == code), "no")

    return answer


@pytest.mark.parametrize("status", [200, 201, 202, 409, 412, 422])
def test_the_server_chooses_the_status(gateway: Gateway, client: httpx.Client, status: int) -> None:
    gateway.backend.answers[CREATE_PAGE] = answering(
        page_pb2.Page(title="x"), x_http_status=str(status), location="/there"
    )
    answer = client.post(PAGES, json={"title": "x"})
    assert answer.status_code == status
    assert answer.json()["title"] == "x"
    assert answer.headers["location"] == "/there"
    assert "x-http-status" not in answer.headers


def limited(told: str, *, refused: bool = False, ahead: bool = False) -> Answer:
    """Answer, or refuse, with what the server tells of a rate limit, ahead of the answer or after it."""

    def answer(_request: Any, context: grpc.ServicerContext) -> Message:
        metadata = ((LIMIT, told), ("retry-after", "3")) if refused else ((LIMIT, told), ("etag", 'W/"1"'))
        (context.send_initial_metadata if ahead else context.set_trailing_metadata)(metadata)
        if refused:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no")
        return page_pb2.Page(title="x")

    return answer


def limits_of(answer: httpx.Response) -> dict[str, str]:
    """The headers that tell of a rate limit."""
    return {name: value for name, value in answer.headers.items() if "ratelimit" in name}


@pytest.mark.parametrize(("refused", "status"), [(False, 200), (True, 429)])
@pytest.mark.parametrize("ahead", [False, True])
def test_a_rate_limit_is_told_in_the_headers_that_clients_know(
    gateway: Gateway,
    client: httpx.Client,
    refused: bool,  # noqa: FBT001
    status: int,
    ahead: bool,  # noqa: FBT001
) -> None:
    gateway.backend.answers[GET_PAGE] = limited("auth_failure;1000;900;998;2", refused=refused, ahead=ahead)
    answer = client.get(f"{PAGES}/1")
    assert answer.status_code == status
    assert limits_of(answer) == {
        "x-ratelimit-limit": "1000",
        "x-ratelimit-remaining": "998",
        "x-ratelimit-reset": "2",
        "ratelimit-policy": '"auth_failure";q=1000;w=900',
        "ratelimit": '"auth_failure";r=998;t=2',
    }
    assert answer.headers.get("retry-after") == ("3" if refused else None)
    assert answer.headers["cache-control"] == ("no-store" if refused else "private, no-cache")
    assert not [name for name in answer.headers if name == LIMIT or name.startswith("grpc-")]


@pytest.mark.parametrize(
    "told",
    [
        "default",
        "default;1;2;3",
        "default;1;2;3;4;5",
        "default;-1;60;0;1",
        "default;1.5;60;0;1",
        "default;1e3;60;0;1",
        "default;;60;0;1",
        ";1;60;0;1",
        'a"b;1;60;0;1',
        "default;1;60;0;1, default;1;60;0;1",
    ],
)
def test_what_is_no_rate_limit_gives_no_headers(gateway: Gateway, client: httpx.Client, told: str) -> None:
    gateway.backend.answers[GET_PAGE] = limited(told)
    answer = client.get(f"{PAGES}/1")
    assert (answer.status_code, answer.json()["title"]) == (200, "x")
    assert not answer.headers.keys() & {LIMIT, *limits_of(answer)}


def test_what_the_gateway_puts_aside_reaches_no_server(gateway: Gateway, client: httpx.Client) -> None:
    sent = {"x-request-id": "mine", "grpc-timeout": "5S", "grpc-encoding": "identity"}
    assert client.get(f"{PAGES}/1", headers=sent).status_code == 200
    seen = gateway.backend.calls[-1].metadata
    assert seen["x-request-id"] == "mine"
    assert not seen.keys() & set(PUT_ASIDE)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_has_none(gateway: Gateway, client: httpx.Client, status: int) -> None:
    gateway.backend.answers[GET_PAGE] = answering(page_pb2.Page(title="x"), x_http_status=str(status), etag='W/"1"')
    answer = client.get(f"{PAGES}/1")
    assert answer.status_code == status
    assert answer.content == b""
    assert answer.headers["etag"] == 'W/"1"'
    assert not answer.headers.keys() & {"content-type", "content-length", "transfer-encoding"}
    gateway.backend.forget()
    assert client.get(f"{PAGES}/1").status_code == 200


@pytest.mark.parametrize(
    ("code", "given", "status"),
    [
        (code_pb2.ABORTED, "412", 412),
        (code_pb2.FAILED_PRECONDITION, "409", 409),
        (code_pb2.INVALID_ARGUMENT, "422", 422),
        (code_pb2.NOT_FOUND, None, 404),
        (code_pb2.UNAVAILABLE, None, 503),
        (code_pb2.RESOURCE_EXHAUSTED, None, 429),
    ],
)
def test_an_error_of_the_server_keeps_its_details(
    gateway: Gateway, client: httpx.Client, code: int, given: str | None, status: int
) -> None:
    detail = error_details_pb2.ErrorInfo(reason="ETAG_MISMATCH", domain="plinth", metadata={"etag": "7"})
    headers = {"retry_after": "3"} | ({"x_http_status": given} if given else {})
    gateway.backend.answers[GET_PAGE] = failing(code, detail, **headers)
    answer = client.get(f"{PAGES}/1")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "3"
    assert not [name for name in answer.headers if name.startswith("grpc-")]
    assert answer.json() == {
        "code": code,
        "message": "no",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "ETAG_MISMATCH",
                "domain": "plinth",
                "metadata": {"etag": "7"},
            }
        ],
    }


def test_the_server_cannot_choose_what_is_no_status(gateway: Gateway) -> None:
    gateway.backend.answers[GET_PAGE] = answering(page_pb2.Page(), x_http_status="99")
    answer = gateway.http.get(f"{PAGES}/1")
    assert answer.status_code == 200
    assert "x-http-status" not in answer.headers


def test_head_is_get_without_its_body(gateway: Gateway, client: httpx.Client) -> None:
    gateway.backend.answers[GET_PAGE] = answering(page_pb2.Page(description="x" * 2000), etag='W/"1"')
    got = client.get(f"{PAGES}/1", headers={"accept-encoding": "identity"})
    for _ in range(2):  # a body that went out would be taken for the second answer
        answer = client.head(f"{PAGES}/1", headers={"accept-encoding": "identity"})
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == got.headers["content-length"]
        assert answer.headers["etag"] == got.headers["etag"]
    assert client.head(f"{PAGES}/1").content == b""
    assert gateway.backend.calls[-1].metadata["x-envoy-original-method"] == "HEAD"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (PAGES, "GET, HEAD, POST, OPTIONS"),
        (f"{PAGES}/1", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        (f"{PAGES}/1/publish", "POST, OPTIONS"),
        (f"{PAGES}:batchGet", "GET, HEAD, OPTIONS"),
        (f"{PAGES}/slug/home", "GET, HEAD, OPTIONS"),
        # GET is the stream; a stream has no HEAD, so the others are of a page of that name.
        (f"{PAGES}/stream", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("/.well-known/jwks.json", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_a_wrong_verb_tell_what_is_allowed(client: httpx.Client, path: str, allow: str) -> None:
    options = client.options(path)
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == allow
    wrong = client.request("POST" if "POST" not in allow else "DELETE", path, json={})
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == allow
    assert wrong.json()["details"][0]["reason"] == "ROUTE_NOT_FOUND"


def test_every_binding_reaches_its_method(gateway: Gateway) -> None:
    """Lua's matcher and Envoy's agree, and no pattern hides another."""
    for path, verb, url in bindings():
        gateway.backend.forget()
        gateway.realtime[0].forget()
        answer = gateway.http.request(verb, url, **body_of(path, verb))
        assert answer.status_code == 200, (verb, url, answer.text)
        assert [call.path for call in (*gateway.backend.calls, *gateway.realtime[0].calls)] == [path]


def body_of(path: str, verb: str) -> dict[str, Any]:
    """An empty body of a type that an RPC takes."""
    options: Any = METHODS[path].GetOptions()
    raw = options.Extensions[policy_pb2.policy].raw
    if raw.content_types and verb != "GET":
        return {"content": b"", "headers": {"content-type": raw.content_types[0]}}
    return {} if verb in {"GET", "DELETE"} else {"json": {}}


def bindings() -> list[tuple[str, str, str]]:
    found = []
    for path, method in METHODS.items():
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        for each in (rule, *rule.additional_bindings):
            if each.WhichOneof("pattern"):
                verb, pattern = verb_and_pattern(each)
                found.append((path, verb, VARIABLE.sub("p", pattern.replace("{tenant_id}", TENANT))))
    return found


def test_every_response_has_the_security_headers(client: httpx.Client) -> None:
    for answer in (
        client.get(PAGES),
        client.get("/nope"),
        client.options(PAGES),
        client.get(f"{PAGES}?nope=1"),
        client.get(f"{PAGES}%2f"),
    ):
        assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
        assert not answer.headers.keys() & {"server", "x-envoy-upstream-service-time", "strict-transport-security"}


def test_caching(gateway: Gateway) -> None:
    def get() -> str:
        return gateway.http.get(f"{PAGES}/1").headers["cache-control"]

    assert get() == "no-store"
    gateway.backend.answers[GET_PAGE] = answering(page_pb2.Page(), etag='W/"1"')
    assert get() == "private, no-cache"
    gateway.backend.answers[GET_PAGE] = answering(page_pb2.Page(), etag='W/"1"', cache_control="public, max-age=60")
    assert get() == "public, max-age=60"


def test_empty_fields_show_and_enums_are_names(gateway: Gateway) -> None:
    gateway.backend.answers[GET_PAGE] = answering(page_pb2.Page(status=page_pb2.Page.STATUS_DRAFT))
    page = gateway.http.get(f"{PAGES}/1").json()
    assert page == {
        "id": "",
        "tenantId": "",
        "slug": "",
        "title": "",
        "description": "",
        "status": "STATUS_DRAFT",
        "etag": "",
        "parentId": "",
        "locale": "",
        "originalId": "",
        "path": "",
        "versionNumber": 0,
        "pageTemplateId": "",
    }


@pytest.mark.parametrize("given", ["mine", "a" * 128, "A.b_c-1"])
def test_a_sane_request_id_is_kept(gateway: Gateway, client: httpx.Client, given: str) -> None:
    answer = client.get(PAGES, headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    assert gateway.backend.calls[-1].metadata["x-request-id"] == given
    assert client.get("/nope", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a,b", "é", "<script>"])
def test_another_request_id_is_replaced(gateway: Gateway, given: str) -> None:
    answer = gateway.http.get(PAGES, headers={b"x-request-id": given.encode()})
    assert len(answer.headers["x-request-id"]) == 36
    assert gateway.backend.calls[-1].metadata["x-request-id"] == answer.headers["x-request-id"]
    assert "x-plinth-callers-request-id" not in gateway.backend.calls[-1].metadata


def test_headers_that_only_the_gateway_sets_are_taken_off(gateway: Gateway) -> None:
    forged = {
        "x-plinth-json-keys": "title",
        "x-plinth-callers-request-id": "forged",
        "x-plinth-limit": "default;1;60;0;60",
        "x-plinth-other": "1",
        "x-http-status": "500",
        "x-envoy-original-path": "/forged",
        "x-envoy-original-method": "DELETE",
        "x-envoy-external-address": "6.6.6.6",
        "x-envoy-internal": "true",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-forwarded-for": "6.6.6.6",
        "x-trace-bin": "!!!",
        "x!y": "a name of HTTP, and none of gRPC",
        "Z~$": "the same",
    }
    answer = gateway.http.get(PAGES, headers=forged)
    assert answer.status_code == 200
    metadata = gateway.backend.calls[-1].metadata
    assert metadata["x-envoy-external-address"] == "127.0.0.1"
    assert metadata["x-envoy-original-path"] == PAGES
    assert metadata["x-envoy-original-method"] == "GET"
    assert "6.6.6.6" not in metadata["x-forwarded-for"]
    left = {
        "x-plinth-json-keys",
        LIMIT,
        "x-plinth-other",
        "x-http-status",
        "x-envoy-internal",
        "x-trace-bin",
        "x!y",
        "z~$",
    }
    assert not metadata.keys() & left
    assert not answer.headers.keys() & {LIMIT, *limits_of(answer)}


def test_what_the_server_needs_arrives(gateway: Gateway) -> None:
    sent = {
        "authorization": "Bearer x",
        "x-api-key": "k",
        "if-match": 'W/"1"',
        "if-none-match": 'W/"2"',
        "idempotency-key": "i",
    }
    gateway.http.get(PAGES, headers=sent)
    assert gateway.backend.calls[-1].metadata.items() >= sent.items()


def test_large_json_is_compressed_and_keeps_its_etag(gateway: Gateway) -> None:
    gateway.backend.answers[GET_PAGE] = answering(page_pb2.Page(description="x" * 2000), etag='W/"1"')
    answer = gateway.http.get(f"{PAGES}/1", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.json()["description"] == "x" * 2000
    gateway.backend.answers[GET_PAGE] = answering(page_pb2.Page(description="x" * 500), etag='W/"1"')
    assert "content-encoding" not in gateway.http.get(f"{PAGES}/1", headers={"accept-encoding": "gzip"}).headers


def test_behind_a_proxy_its_word_on_the_client_counts() -> None:
    with running(trusted_proxies=1) as gateway:
        gateway.http.get(
            PAGES, headers={"x-forwarded-for": "6.6.6.6, 203.0.113.7", "x-envoy-external-address": "6.6.6.6"}
        )
        assert gateway.backend.calls[-1].metadata["x-envoy-external-address"] == "203.0.113.7"
