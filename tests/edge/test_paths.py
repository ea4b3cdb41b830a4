"""Paths are served as they were sent, or not at all: none is bent until it fits."""

import re
import socket
from importlib import resources

import httpx
import pytest

from server.gateway.contract import Contract
from server.gateway.descriptors import parse
from tests.edge.gateway import PAGES, Gateway
from tests.edge.http2 import Request, exchange, request

CONTRACT = Contract.read(parse(resources.files("plinth").joinpath("descriptors.binpb").read_bytes()))
BINDINGS = [(binding.verb, binding.pattern) for method in CONTRACT.methods for binding in method.bindings]
# Others append a slash to the address they were given, which is theirs to choose (docs/inbound.md).
RAW = {
    (binding.verb, f"{binding.pattern}/")
    for method in CONTRACT.methods
    for binding in method.bindings
    if method.raw is not None and binding.body
}
DOTS = (".", "..", "%2e", "%2E%2e", ".%2e", "%2e.")
VARIABLE = re.compile(r"\{[^{}]+\}")
VALUE = "0190b3c8-0000-7000-8000-000000000000"


def bent(pattern: str) -> list[str]:
    """A binding's path with dots in each of its variables, and with an empty segment in each place."""
    whole = VARIABLE.sub(VALUE, pattern)
    dotted = [
        VARIABLE.sub(VALUE, pattern[: variable.start()] + dots + pattern[variable.end() :])
        for variable in VARIABLE.finditer(pattern)
        for dots in DOTS
    ]
    places = [slash.start() for slash in re.finditer("/", whole)]
    empty = [whole[:place] + "/" + whole[place:] for place in places]
    stepped = [whole[:place] + "/." + whole[place:] for place in places]
    return [*dotted, *empty, *stepped, f"{whole}/", f"{whole}/.", f"{whole}/..", f"{whole}//", f"{whole}/x/.."]


def test_no_binding_answers_a_bent_path(gateway: Gateway) -> None:
    """Asked as nobody's library would: one connection, paths as they are."""
    taken = {(verb, VARIABLE.sub(VALUE, path)) for verb, path in RAW}
    asked = [(verb, path) for verb, pattern in BINDINGS for path in bent(pattern) if (verb, path) not in taken]
    for start in range(0, len(asked), 50):
        some = asked[start : start + 50]
        answers = exchange(gateway.port, *(Request(request(verb, path)) for verb, path in some))
        wrong = [(pair, answer.status) for pair, answer in zip(some, answers, strict=True) if answer.status != 404]
        assert not wrong
    assert not gateway.backend.calls
    assert not gateway.realtime[0].calls


@pytest.mark.parametrize("suffix", ["/..", "/%2e%2e", "/.", "/", "//", "/x/..", "/..:publish"])
@pytest.mark.parametrize("verb", ["DELETE", "PATCH", "PUT", "GET", "OPTIONS"])
def test_over_http_1(gateway: Gateway, verb: str, suffix: str) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as stream:
        stream.sendall(f"{verb} {PAGES}{suffix} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert stream.makefile("rb").readline().split()[1] == b"404"
    assert not gateway.backend.calls


@pytest.mark.parametrize(
    "path", ["/.well-known/jwks.json", f"{PAGES}/slug/a..b", f"{PAGES}/slug/...", f"{PAGES}/slug/.a"]
)
def test_a_dot_in_a_name_is_a_dot(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_http_1_0_is_served(gateway: Gateway) -> None:
    """Proxies that speak it send no Host."""
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as stream:
        stream.sendall(f"GET {PAGES} HTTP/1.0\r\n\r\n".encode())
        answer = stream.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert answer.endswith(b'{"pages":[],"nextPageToken":""}')


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br, gzip;q=0.5"])
def test_head_tells_the_length_of_the_answer(client: httpx.Client, encoding: str) -> None:
    whole = client.get(PAGES, headers={"accept-encoding": "identity"})
    head = client.head(PAGES, headers={"accept-encoding": encoding})
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.content == b""
