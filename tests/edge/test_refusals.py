"""What Envoy refuses by itself has the shape of the server's errors."""

from typing import Any

import grpc
import httpx
import pytest
from plinth.sites.v1 import page_pb2

from tests.edge.gateway import ORIGIN, PAGES, Gateway, running


def reason(answer: httpx.Response) -> tuple[int, int, str, dict[str, str]]:
    """Status, code, reason and metadata of an error; the rest of its shape is checked."""
    assert answer.headers["content-type"] == "application/json", answer.text
    error = answer.json()
    assert error.keys() == {"code", "message", "details"}
    assert error["message"]
    info = error["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert info["domain"] == "plinth"
    return answer.status_code, error["code"], info["reason"], info["metadata"]


@pytest.mark.parametrize(
    "path", ["/nope", "/", "/api/v1/tenants/t/pages/1/2/3", "/plinth/sites", "/grpc.health.v1.Health/Check"]
)
def test_an_unknown_path(client: httpx.Client, path: str) -> None:
    for answer in (client.get(path), client.post(path, json={}), client.get(f"{path}?access_token=secret")):
        assert reason(answer) == (404, 5, "ROUTE_NOT_FOUND", {"path": path})
        message = answer.json()["message"]
        assert f"`{path}`" in message
        assert ("/docs" in message) == (not path.startswith("/api/"))


def test_an_unknown_path_is_told_escaped_and_cut(client: httpx.Client) -> None:
    long = client.get("/" + "x" * 5000)
    assert reason(long)[3] == {"path": "/" + "x" * 199 + "..."}
    assert len(long.content) < 1000
    odd = client.get("/a%22%3Cb%3E\\'")
    assert reason(odd)[0] == 404
    assert odd.json()["details"][0]["metadata"]["path"].startswith("/a%22")


@pytest.mark.parametrize("name", ["nope", "a.b", "no-pe", "n%22pe"])
def test_an_unknown_parameter_is_named(client: httpx.Client, name: str) -> None:
    status, code, why, metadata = reason(client.get(f"{PAGES}?{name}=1"))
    assert (status, code, why) == (400, 3, "UNKNOWN_FIELD")
    assert metadata == {"field": name.replace("%22", '"')}


@pytest.mark.parametrize(
    ("name", "nearest"), [("pageSze", "pageSize"), ("page_sizes", "pageSize"), ("Filter", "filter")]
)
def test_the_parameter_that_was_meant_is_named(client: httpx.Client, name: str, nearest: str) -> None:
    answer = client.get(f"{PAGES}?{name}=1")
    assert reason(answer) == (400, 3, "UNKNOWN_FIELD", {"field": name, "nearest": nearest})
    assert f"`{nearest}`" in answer.json()["message"]


@pytest.mark.parametrize("query", ["pageSize=1&page_size=2", "pageSize=1&pageSize=1", "page%53ize=1&pageSize=2"])
def test_a_parameter_that_comes_twice(gateway: Gateway, client: httpx.Client, query: str) -> None:
    assert reason(client.get(f"{PAGES}?{query}"))[:3] == (400, 3, "MALFORMED")
    assert not gateway.backend.calls


def test_a_list_comes_as_several_parameters(gateway: Gateway, client: httpx.Client) -> None:
    assert client.get(f"{PAGES}:batchGet?ids=a&ids=b").status_code == 200
    assert gateway.backend.calls[-1].request.ids == ["a", "b"]


@pytest.mark.parametrize(("query", "words"), [
    ("page_size=abc", "a whole number"), ("pageSize=1.5", "a whole number"), ("pageSize=99999999999", "a whole number"),
    ("include_total=maybe", "true or false"),
])  # fmt: skip
def test_a_parameter_of_the_wrong_type(client: httpx.Client, query: str, words: str) -> None:
    answer = client.get(f"{PAGES}?{query}")
    field = "includeTotal" if query.startswith("include") else "pageSize"
    assert reason(answer) == (400, 3, "MALFORMED", {"field": field})
    assert answer.json()["message"].startswith(f"`{field}` has to be {words}")


@pytest.mark.parametrize("query", ["filter=%ff", "filter=%C3", "filter=%ED%A0%80"])
def test_a_query_that_is_not_utf8(client: httpx.Client, query: str) -> None:
    assert reason(client.get(f"{PAGES}?{query}")) == (400, 3, "MALFORMED", {})


def test_parameters_in_utf8(gateway: Gateway, client: httpx.Client) -> None:
    client.get(PAGES, params={"filter": "title = 'أهلا'"})
    assert gateway.backend.calls[-1].request.filter == "title = 'أهلا'"


@pytest.mark.parametrize("escaped", ["%2f", "%2F", "%5c", "%5C"])
def test_escaped_slashes(client: httpx.Client, escaped: str) -> None:
    answer = client.get(f"{PAGES}/a{escaped}b", headers={"origin": ORIGIN})
    assert reason(answer) == (400, 3, "MALFORMED", {})
    assert "encoded slash" in answer.json()["message"]
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_a_header_with_an_underscore_is_a_header(gateway: Gateway, client: httpx.Client) -> None:
    assert client.get(PAGES, headers={"x_y": "z"}).status_code == 200
    assert gateway.backend.calls[-1].metadata["x_y"] == "z"


def test_headers_that_are_too_large(gateway: Gateway, client: httpx.Client) -> None:
    limit = gateway.settings.max_header_kilobytes * 1024
    answer = client.get(PAGES, headers={"x-large": "y" * limit, "origin": ORIGIN})
    assert reason(answer) == (431, 3, "TOO_LARGE", {"limit_bytes": str(limit)})
    assert str(limit) in answer.json()["message"]
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert not gateway.backend.calls


def test_headers_that_nobody_reads(gateway: Gateway) -> None:
    """Twice as many again end the reading; the cors filter has not seen the origin, so any page may read the answer."""
    limit = gateway.settings.max_header_kilobytes * 1024
    answer = gateway.http.get(PAGES, headers={"x-large": "y" * 2 * limit, "origin": ORIGIN})
    assert reason(answer) == (431, 3, "TOO_LARGE", {"limit_bytes": str(limit)})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-request-id"] == answer.json()["details"][1]["requestId"] != ""


def test_many_headers_are_not_too_many(client: httpx.Client) -> None:
    assert client.get(PAGES, headers={f"x-{number}": "y" for number in range(300)}).status_code == 200


def test_a_body_that_is_too_large() -> None:
    with running(max_request_bytes=1024) as gateway:
        fits = gateway.http.post(PAGES, json={"title": "x" * 1000})
        assert fits.status_code == 200
        answer = gateway.http.post(PAGES, json={"title": "x" * 3000})
        assert reason(answer) == (413, 3, "TOO_LARGE", {"limit_bytes": "1024"})


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_longer_than_the_contract_can_ask_for(gateway: Gateway, client: httpx.Client, *, chunked: bool) -> None:
    """Also one that is larger than the windows of HTTP/2: the answer does not come while the client sends."""
    body = b'{"title":"' + b"x" * 700_000 + b'"}'
    headers = {"content-type": "application/json", "origin": ORIGIN}
    content = iter([body[:1000], body[1000:]]) if chunked else body
    answer = client.post(PAGES, content=content, headers=headers)
    status, code, why, metadata = reason(answer)
    assert (status, code, why) == (413, 3, "TOO_LARGE")
    assert 100_000 < int(metadata["limit_bytes"]) < 700_000
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert not gateway.backend.calls


def test_what_anybody_may_send_is_small(gateway: Gateway, client: httpx.Client) -> None:
    """Nothing is read of a stranger's body beyond what signing in needs."""
    answer = client.post("/api/v1/auth/login", json={"email": "x" * 20_000})
    assert reason(answer)[:3] == (413, 3, "TOO_LARGE")
    assert int(reason(answer)[3]["limit_bytes"]) <= 16 * 1024
    answer = client.post(PAGES, json={"title": "x" * 5_000})
    assert reason(answer) == (401, 16, "CREDENTIALS_MISSING", {})
    assert answer.headers["www-authenticate"] == 'Bearer realm="plinth"'
    assert not gateway.backend.calls
    for name in ("authorization", "x-api-key"):
        assert client.post(PAGES, json={"title": "x" * 5_000}, headers={name: "Bearer x"}).status_code == 200


def test_large_bodies_with_credentials_that_are_none_are_not_read_one_after_the_other() -> None:
    """Each takes the gateway long, and its caller turns out to be nobody only behind it."""

    def refuse(_request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("x-http-status", "401"),))
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")

    with running(trusted_proxies=1) as gateway:

        def send(address: str, size: int) -> httpx.Response:
            headers = {"authorization": "Bearer nonsense", "x-forwarded-for": address}
            return gateway.http.post(PAGES, json={"settings": {"a": "x" * size}}, headers=headers)

        create = "/plinth.sites.v1.PageService/CreatePage"
        assert [send("192.0.2.1", 5_000).status_code for _ in range(2)] == [200, 200]
        gateway.backend.answers[create] = refuse
        # A token that has expired is no stranger's: its owner sends the body again.
        assert [send("192.0.2.1", 5_000).status_code for _ in range(3)] == [401, 401, 401]
        refused = send("192.0.2.1", 5_000)
        assert reason(refused) == (429, 8, "RATE_LIMITED", {})
        assert 0 < int(refused.headers["retry-after"]) <= 60
        # Small ones are the server's to refuse, and nobody else is kept waiting.
        assert send("192.0.2.1", 1000).status_code == 401
        gateway.backend.forget()
        assert send("192.0.2.2", 5_000).status_code == 200
        assert send("192.0.2.1", 1000).status_code == 200
        assert send("192.0.2.1", 5_000).status_code == 429


def test_one_dead_credential_keeps_nobody_else_behind_its_address_waiting() -> None:
    with running(trusted_proxies=1) as gateway:

        def send(address: str, credential: str, header: str = "authorization") -> int:
            headers = {header: credential, "x-forwarded-for": address}
            return gateway.http.post(PAGES, json={"settings": {"a": "x" * 5_000}}, headers=headers).status_code

        def refuse(_request: Any, context: grpc.ServicerContext) -> Any:
            sent = dict(context.invocation_metadata())
            if "dead" in str(sent.get("authorization", sent.get("x-api-key"))):
                context.set_trailing_metadata((("x-http-status", "401"),))
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
            return page_pb2.Page()

        gateway.backend.answers["/plinth.sites.v1.PageService/CreatePage"] = refuse
        for address, neighbour, stranger in (
            ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"),
            ("2001:db8:0:7::1", "2001:db8:0:7:ffff::2", "2001:db8:0:8::1"),
            ("2001:db8::1", "2001:db8:0:0:1::", "2001:db8:0:1::1"),
        ):
            assert [send(address, "Bearer dead-0") for _ in range(5)] == [401] * 3 + [429] * 2
            assert send(neighbour, "Bearer dead-0") == 429
            assert send(neighbour, "Bearer alive") == 200
            # One that tries one after the other is a stranger whatever it tries.
            assert [send(neighbour, f"dead-{number}", "x-api-key") for number in (1, 2)] == [401] * 2
            assert (send(address, "Bearer alive"), send(neighbour, "Bearer alive")) == (429, 429)
            assert send(stranger, "Bearer alive") == 200


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonp",
     "text/plain, application/json", "application/grpcx", "application/grpc-webx"],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["POST", "PATCH", "PUT"])
def test_a_body_that_does_not_say_it_is_json(
    gateway: Gateway, client: httpx.Client, verb: str, content_type: str
) -> None:
    path = PAGES if verb == "POST" else f"{PAGES}/1"
    answer = client.request(verb, path, content=b"{}", headers={"content-type": content_type})
    assert reason(answer) == (415, 3, "CONTENT_TYPE_UNSUPPORTED", {})
    assert not gateway.backend.calls


def test_a_compressed_body(client: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert reason(client.post(PAGES, content=b"{}", headers=headers))[2] == "CONTENT_TYPE_UNSUPPORTED"


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON",
                                          'application/json;charset="UTF-8"', "application/ld+json"])  # fmt: skip
def test_a_body_of_json(client: httpx.Client, content_type: str) -> None:
    assert client.post(PAGES, content=b"{}", headers={"content-type": content_type}).status_code == 200


@pytest.mark.parametrize(("content_type", "words"), [
    ("application/merge-patch+json", "Patch documents"), ("application/json-patch+json", "Patch documents"),
    ("application/json; charset=latin1", "UTF-8"), ("application/json; charset=utf-16", "UTF-8"),
])  # fmt: skip
def test_json_that_would_mean_something_else(client: httpx.Client, content_type: str, words: str) -> None:
    answer = client.patch(f"{PAGES}/1", content=b'{"settings":{"a":1}}', headers={"content-type": content_type})
    assert reason(answer) == (415, 3, "CONTENT_TYPE_UNSUPPORTED", {})
    assert words in answer.json()["message"]


@pytest.mark.parametrize(("verb", "path"), [("DELETE", f"{PAGES}/1"), ("GET", PAGES)])
def test_a_body_where_none_is_taken(gateway: Gateway, client: httpx.Client, verb: str, path: str) -> None:
    """The transcoder would read it: a DELETE could carry fields that nobody looked at."""
    answer = client.request(verb, path, json={"etag": "x"})
    assert reason(answer) == (400, 3, "MALFORMED", {})
    assert not gateway.backend.calls


API_KEYS = PAGES.replace("/pages", "/api-keys")


@pytest.mark.parametrize(("path", "body", "field"), [
    (PAGES, {"createTime": "yesterday"}, "createTime"),
    (PAGES, {"create_time": 5}, "create_time"),
    (PAGES, {"title": ["x"]}, "title"),
    (PAGES, {"title": {"a": 1}}, "title"),
    (PAGES, {"title": 5}, "title"),
    (PAGES, {"title": True}, "title"),
    (PAGES, {"settings": "x"}, "settings"),
    (PAGES, {"settings": [1]}, "settings"),
    (PAGES, {"status": "NOPE"}, "status"),
    (PAGES, {"status": {}}, "status"),
    (API_KEYS, {"permissions": "x"}, "permissions"),
    (API_KEYS, {"permissions": [5]}, "permissions[]"),
    (API_KEYS, {"permissions": [["x"]]}, "permissions[]"),
    (API_KEYS, {"permissions": [None]}, "permissions[]"),
    (API_KEYS, {"callsPerMinute": "abc"}, "callsPerMinute"),
    (API_KEYS, {"callsPerMinute": 1.5}, "callsPerMinute"),
    (API_KEYS, {"callsPerMinute": {}}, "callsPerMinute"),
    (API_KEYS, {"expireTime": {}}, "expireTime"),
])  # fmt: skip
def test_a_field_of_the_wrong_type(
    gateway: Gateway, client: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(path, json=body)
    assert reason(answer) == (400, 3, "MALFORMED", {"field": field})
    assert answer.json()["message"].startswith(f"`{field}` has to be ")
    assert not gateway.backend.calls


@pytest.mark.parametrize("body", [{"title": None}, {"settings": None}, {"status": None}, {"createTime": None}])
def test_null_clears_a_field_of_any_type(client: httpx.Client, body: dict[str, Any]) -> None:
    assert client.post(PAGES, json=body).status_code == 200


@pytest.mark.parametrize("name", ["page_id", "pageId", "tenant_id", "tenantId", "page%5Fid"])
@pytest.mark.parametrize("value", ["1", "2"])
def test_a_parameter_cannot_stand_in_for_the_path(
    gateway: Gateway, client: httpx.Client, name: str, value: str
) -> None:
    """The transcoder would let it override the path."""
    plain = name.replace("%5F", "_")
    assert reason(client.get(f"{PAGES}/1?{name}={value}")) == (400, 3, "UNKNOWN_FIELD", {"field": plain})
    assert not gateway.backend.calls


@pytest.mark.parametrize("name", ["page.title", "page", "tenantId"])
def test_a_parameter_cannot_stand_in_for_the_body(client: httpx.Client, name: str) -> None:
    answer = client.patch(f"{PAGES}/1?{name}=x", json={"slug": "y"})
    assert reason(answer) == (400, 3, "UNKNOWN_FIELD", {"field": name})


def test_where_the_body_is_the_whole_request_there_are_no_parameters(client: httpx.Client) -> None:
    answer = client.post(f"{PAGES}/1/publish?etag=x")
    assert reason(answer) == (400, 3, "UNKNOWN_FIELD", {"field": "etag"})


@pytest.mark.parametrize("name", ["pageId", "page_id", "tenantId"])
def test_the_body_cannot_stand_in_for_the_path(client: httpx.Client, name: str) -> None:
    answer = client.post(f"{PAGES}/1/publish", json={"etag": "x", name: "1"})
    assert reason(answer) == (400, 3, "UNKNOWN_FIELD", {"field": name})


def test_other_parameters_go_with_a_body(gateway: Gateway, client: httpx.Client) -> None:
    assert client.patch(f"{PAGES}/1?updateMask=title", json={"title": "x"}).status_code == 200
    assert gateway.backend.calls[-1].request.update_mask.paths == ["title"]


def test_refusals_carry_cors_and_the_request_id(client: httpx.Client) -> None:
    headers = {"origin": ORIGIN, "x-request-id": "mine"}
    for answer in (client.get("/nope", headers=headers), client.get(f"{PAGES}?a=1", headers=headers),
                   client.post(PAGES, content=b"x", headers=headers)):  # fmt: skip
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["x-request-id"] == "mine"


def test_a_bad_deadline_is_ignored(client: httpx.Client) -> None:
    """A deadline is no matter of REST: nobody there knows what is wrong with it."""
    for timeout in ("soon", "123456789S", "-1S", "1x", ""):
        assert client.get(PAGES, headers={"grpc-timeout": timeout}).status_code == 200


class TestGrpc:
    """Native gRPC gets gRPC's own form of a refusal."""

    def test_an_unknown_method_is_the_servers_to_refuse(self, gateway: Gateway) -> None:
        with gateway.channel() as channel:
            for path in ("/plinth.sites.v1.PageService/Nope", "/nope.Service/Nope"):
                call: Any = channel.unary_unary(path)
                with pytest.raises(grpc.RpcError) as raised:
                    call(b"", timeout=30)
                assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED

    def test_no_worker(self) -> None:
        with running(api=0, realtime=0) as gateway:
            answer = gateway.http.get(PAGES, headers={"origin": ORIGIN})
            assert reason(answer) == (503, 14, "DEPENDENCY_UNAVAILABLE", {"dependency": "server"})
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert answer.json()["details"][1] == {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": "1s",
            }
            with gateway.pages() as pages, pytest.raises(grpc.RpcError) as raised:
                pages.GetPage(page_pb2.GetPageRequest(), timeout=30)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "{" not in (raised.value.details() or "")
