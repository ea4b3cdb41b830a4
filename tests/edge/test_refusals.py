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
    "path", ["/nope", "/", "/api/v1/tenants/t/pages/1/2/3", "/plinth.sites.v1.PageService/ListPages"]
)
def test_an_unknown_path(client: httpx.Client, path: str) -> None:
    assert reason(client.get(path)) == (404, 5, "ROUTE_NOT_FOUND", {})
    assert reason(client.post(path, json={})) == (404, 5, "ROUTE_NOT_FOUND", {})


@pytest.mark.parametrize("name", ["nope", "a.b", "no-pe", "n%22pe"])
def test_an_unknown_parameter_is_named(client: httpx.Client, name: str) -> None:
    status, code, why, metadata = reason(client.get(f"{PAGES}?{name}=1"))
    assert (status, code, why) == (400, 3, "UNKNOWN_FIELD")
    assert metadata["field"] in {name, name.split(".", maxsplit=1)[0]}


def test_a_parameter_of_the_wrong_type(client: httpx.Client) -> None:
    answer = client.get(f"{PAGES}?page_size=abc")
    assert reason(answer) == (400, 3, "MALFORMED", {})
    assert "page_size" in answer.json()["message"]


@pytest.mark.parametrize("query", ["filter=%ff", "filter=%C3", "filter=%ED%A0%80"])
def test_a_query_that_is_not_utf8(client: httpx.Client, query: str) -> None:
    assert reason(client.get(f"{PAGES}?{query}")) == (400, 3, "MALFORMED", {})


def test_parameters_in_utf8(gateway: Gateway, client: httpx.Client) -> None:
    client.get(PAGES, params={"filter": "title = 'أهلا'"})
    assert gateway.backend.calls[-1].request.filter == "title = 'أهلا'"


@pytest.mark.parametrize("escaped", ["%2f", "%2F", "%5c", "%5C"])
def test_escaped_slashes(client: httpx.Client, escaped: str) -> None:
    assert reason(client.get(f"{PAGES}/a{escaped}b")) == (400, 3, "MALFORMED", {"cause": "path_normalization_failed"})


def test_a_header_with_an_underscore(gateway: Gateway) -> None:
    refused = (400, 3, "MALFORMED", {"cause": "http1.unexpected_underscore"})
    assert reason(gateway.http.get(PAGES, headers={"x_y": "z"})) == refused
    with pytest.raises(httpx.RemoteProtocolError):  # over HTTP/2 Envoy only resets the stream
        gateway.http2.get(PAGES, headers={"x_y": "z"})


def test_headers_that_are_too_large(gateway: Gateway) -> None:
    limit = gateway.settings.max_header_kilobytes * 1024
    answer = gateway.http.get(PAGES, headers={"x-large": "y" * limit})
    assert reason(answer) == (431, 3, "TOO_LARGE", {"limit_bytes": str(limit)})
    with pytest.raises(httpx.RemoteProtocolError):  # the same
        gateway.http2.get(PAGES, headers={"x-large": "y" * limit})


def test_too_many_headers(gateway: Gateway) -> None:
    assert reason(gateway.http.get(PAGES, headers={f"x-{number}": "y" for number in range(101)}))[0] == 431


def test_a_body_that_is_too_large() -> None:
    with running(max_request_bytes=1024) as gateway:
        fits = gateway.http.post(PAGES, json={"title": "x" * 1000})
        assert fits.status_code == 200
        answer = gateway.http.post(PAGES, json={"title": "x" * 3000})
        assert reason(answer) == (413, 3, "TOO_LARGE", {"limit_bytes": "1024"})


def test_a_body_larger_than_the_windows(gateway: Gateway, client: httpx.Client) -> None:
    title = "x" * (3 * 1024 * 1024)
    assert client.post(PAGES, json={"title": title}).status_code == 200
    assert gateway.backend.calls[-1].request.page.title == title


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
                                          "application/merge-patch+json"])  # fmt: skip
def test_a_body_of_json(client: httpx.Client, content_type: str) -> None:
    assert client.post(PAGES, content=b"{}", headers={"content-type": content_type}).status_code == 200


@pytest.mark.parametrize(("verb", "path"), [("DELETE", f"{PAGES}/1"), ("GET", PAGES)])
def test_a_body_where_none_is_taken(gateway: Gateway, client: httpx.Client, verb: str, path: str) -> None:
    """The transcoder would read it: a DELETE could carry fields that nobody looked at."""
    answer = client.request(verb, path, json={"etag": "x"})
    assert reason(answer) == (400, 3, "MALFORMED", {})
    assert not gateway.backend.calls


def test_a_field_of_the_wrong_type(client: httpx.Client) -> None:
    answer = client.post(PAGES, json={"createTime": "yesterday"})
    assert reason(answer) == (400, 3, "MALFORMED", {})
    assert "create_time" in answer.json()["message"]


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
