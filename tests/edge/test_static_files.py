"""Files that the gateway answers itself: no process is asked, and nothing is sent that the caller has."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from plinth.sites.v1 import page_pb2

from server.gateway.static_files import StaticFile, write_files
from tests.edge.gateway import PAGES, Gateway, running

POLICY = "default-src 'none'; style-src 'self'"
TEXT = b"<h1>Hello</h1>" * 1000
FILES = (
    StaticFile("/", "text/html; charset=utf-8", b"<h1>Hello</h1>", POLICY),
    StaticFile("/docs", "text/html; charset=utf-8", TEXT, POLICY),
    # Larger than Envoy's default, and than what its connections buffer.
    StaticFile("/docs/large.json", "application/json", b"[" + b"0," * 1_000_000 + b"0]"),
    StaticFile("/docs/a.1.js", "text/javascript", b"", is_versioned=True, compressed=gzip.compress(b"a()", mtime=0)),
)
HTML, COMPRESSED = {"accept-encoding": "identity"}, {"accept-encoding": "br, gzip"}


@pytest.fixture(scope="module")
def serving() -> Iterator[Gateway]:
    with running(static=FILES) as gateway:
        yield gateway


@pytest.fixture(params=["http", "http2"])
def client(request: pytest.FixtureRequest, serving: Gateway) -> httpx.Client:
    chosen: httpx.Client = getattr(serving, request.param)
    return chosen


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path)
def test_a_file_is_answered_whole_and_without_a_process(
    serving: Gateway, client: httpx.Client, file: StaticFile
) -> None:
    before = len(serving.backend.calls)
    for headers in (HTML, COMPRESSED):
        answer = client.get(file.path, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, file.content_type)
        # httpx inflates it, whatever it asked for.
        assert answer.content == (file.body or b"a()")
        assert answer.headers["vary"].startswith("accept-encoding")
        assert answer.headers["x-request-id"]
        assert "location" not in answer.headers
    assert len(serving.backend.calls) == before


def test_what_is_large_is_compressed_for_who_takes_it(client: httpx.Client) -> None:
    assert client.get("/docs", headers=COMPRESSED).headers["content-encoding"] == "gzip"
    assert int(client.get("/docs", headers=COMPRESSED).headers["content-length"]) < len(TEXT) / 10
    assert "content-encoding" not in client.get("/docs", headers=HTML).headers
    assert "content-encoding" not in client.get("/", headers=COMPRESSED).headers
    assert client.get("/docs/a.1.js", headers=HTML).headers["content-encoding"] == "gzip"


def test_what_the_caller_has_is_not_sent_again(client: httpx.Client) -> None:
    for headers in (HTML, COMPRESSED):
        known = client.get("/docs", headers=headers).headers["etag"]
        for etag in (known, f'"other", {known}', known.removeprefix("W/")):
            again = client.get("/docs", headers=headers | {"if-none-match": etag})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", known)
            assert "location" not in again.headers
            assert again.headers["content-security-policy"] == POLICY
        assert client.get("/docs", headers=headers | {"if-none-match": '"other"'}).status_code == 200


def test_caches_keep_what_its_name_versions(client: httpx.Client) -> None:
    assert client.get("/docs").headers["cache-control"] == "public, no-cache"
    assert client.get("/docs/a.1.js").headers["cache-control"] == "public, max-age=31536000, immutable"


def test_a_page_has_a_policy_of_its_own_and_the_other_headers_of_all(client: httpx.Client) -> None:
    page, document = client.get("/").headers, client.get("/docs/large.json").headers
    assert page["content-security-policy"] == POLICY
    assert document["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    for headers in (page, document):
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")


def test_head_has_the_headers_alone(client: httpx.Client) -> None:
    got, asked = client.get("/docs", headers=HTML), client.head("/docs", headers=HTML)
    assert (asked.status_code, asked.content) == (200, b"")
    for name in ("content-length", "content-type", "etag"):
        assert asked.headers[name] == got.headers[name]


def test_a_query_changes_nothing(client: httpx.Client) -> None:
    assert client.get("/docs?x=%ff").content == TEXT


def test_other_methods_are_refused(client: httpx.Client) -> None:
    answer = client.post("/docs", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert client.options("/docs").status_code == 204


def test_calls_are_answered_as_before(serving: Gateway, client: httpx.Client) -> None:
    assert client.get(PAGES).status_code == 200
    with serving.pages() as pages:
        assert pages.ListPages(page_pb2.ListPagesRequest(), timeout=30) is not None
    assert client.get("/docs/nope").json()["details"][0]["metadata"] == {"path": "/docs/nope"}


def test_files_of_an_earlier_release_are_removed(tmp_path: Path) -> None:
    write_files(FILES, tmp_path)
    write_files(FILES[:1], tmp_path)
    assert [path.name for path in (tmp_path / "static").iterdir()] == [FILES[0].name_of("")]
