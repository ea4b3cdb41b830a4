"""What one caller sends does nothing to the next: the gateway's connection to the server belongs to all of them.

gRPC's core keeps what it could not parse of a header with the connection, and answers 500 to those who come next.
"""

import httpx
import pytest

from tests.edge.gateway import PAGES, TENANT, Gateway
from tests.edge.http2 import Answer, Request, exchange, request

GET_PAGE = "/plinth.sites.v1.PageService/GetPage"
FRAME = b"\0\0\0\0\0"
# Every header that gRPC's core parses, or makes something of, with values that it cannot take.
BROKEN = [
    (name, value)
    for name, values in {
        b"grpc-timeout": (b"x", b"-1S", b"5x", b"", b"S", b"123456789S", b"1 S", b"99999999H"),
        b"grpc-encoding": (b"snappy", b"", b"gzip, snappy", b"GZIP", b"\xff"),
        b"grpc-accept-encoding": (b"x,,y", b"", b"\xff"),
        b"grpc-status": (b"x", b"-1", b"999"),
        b"grpc-message": (b"%zz", b"\xff"),
        b"grpc-previous-rpc-attempts": (b"x", b"-1"),
        b"grpc-retry-pushback-ms": (b"x", b"99999999999999999999"),
        b"grpc-internal-encoding-request": (b"snappy",),
        b"grpc-tags-bin": (b"!", b"AA"),
        b"grpc-trace-bin": (b"!",),
        b"grpc-server-stats-bin": (b"!",),
        b"grpc-anything": (b"x",),
        b"lb-token": (b"\xff",),
        b"lb-cost-bin": (b"!", b"AAAA"),
        b"endpoint-load-metrics-bin": (b"!",),
        b"te": (b"gzip", b"trailers, x"),
        b"traceparent": (b"x",),
        b"x-envoy-peer-metadata": (b"x",),
        b"user-agent": (b"\xff",),
        b"content-length": (b"x",),
        b"host": (b"a b",),
    }.items()
    for value in values
]
OTHERS = 200
DOORS = ("grpc", "grpc-web", "rest")


def sent(door: str, broken: tuple[bytes, bytes], *, as_trailer: bool) -> Request:
    """A request through one of the doors with one broken header, or trailer."""
    extra = () if as_trailer else (broken,)
    trailers = (broken,) if as_trailer else ()
    if door == "rest":
        body = b'{"title":"x"}'
        return Request(request("POST", PAGES, (b"content-type", b"application/json"), *extra), body, trailers)
    kind = {"grpc": b"application/grpc", "grpc-web": b"application/grpc-web+proto"}[door]
    te = ((b"te", b"trailers"),) if broken[0] != b"te" else ()
    return Request(request("POST", GET_PAGE, (b"content-type", kind), *te, *extra), FRAME, trailers)


@pytest.mark.parametrize("as_trailer", [False, True], ids=["header", "trailer"])
@pytest.mark.parametrize("door", DOORS)
def test_a_broken_header_is_nobody_elses(gateway: Gateway, door: str, *, as_trailer: bool) -> None:
    for broken in BROKEN:
        exchange(gateway.port, sent(door, broken, as_trailer=as_trailer))
        good = exchange(gateway.port, sent(door, (b"x-fine", b"1"), as_trailer=False))[0]
        assert works(good), (broken, good)
    statuses = [gateway.http.get(f"{PAGES}/{TENANT}").status_code for _ in range(OTHERS)]
    assert set(statuses) == {200}


def works(answer: Answer) -> bool:
    """Whether a call was answered; gRPC-Web has its trailers in the body."""
    return answer.status == 200 and (answer.grpc_status in (0, -1)) and b"grpc-status:1" not in answer.body


def test_nothing_of_grpcs_own_goes_on(gateway: Gateway) -> None:
    for door in DOORS:
        for name, value in ((b"grpc-status", b"0"), (b"grpc-anything", b"x"), (b"grpc-tags-bin", b"AAAA")):
            for as_trailer in (False, True):
                gateway.backend.forget()
                exchange(gateway.port, sent(door, (name, value), as_trailer=as_trailer))
                assert name.decode() not in gateway.backend.calls[-1].metadata


def test_a_deadline_that_is_one_reaches_the_server(gateway: Gateway) -> None:
    for door in ("grpc", "grpc-web"):
        gateway.backend.forget()
        exchange(gateway.port, sent(door, (b"grpc-timeout", b"2000m"), as_trailer=False))
        assert 0 < (gateway.backend.calls[-1].time_remaining or 0) <= 2


@pytest.mark.parametrize("timeout", [b"x", b"-1S", b"5x", b"123456789S"])
def test_a_deadline_that_is_none_is_refused_in_words(gateway: Gateway, timeout: bytes) -> None:
    answer = exchange(gateway.port, sent("grpc", (b"grpc-timeout", timeout), as_trailer=False))[0]
    assert (answer.status, answer.grpc_status) == (200, 3)
    assert "grpc-timeout" in answer.grpc_message
    assert not gateway.backend.calls


@pytest.mark.parametrize("encoding", [b"snappy", b"br", b"GZIP"])
def test_an_encoding_that_is_not_known_is_not_implemented(gateway: Gateway, encoding: bytes) -> None:
    """As gRPC has it (compression.md), with those that are."""
    answer = exchange(gateway.port, sent("grpc", (b"grpc-encoding", encoding), as_trailer=False))[0]
    assert (answer.status, answer.grpc_status) == (200, 12)
    assert "gzip" in answer.headers["grpc-accept-encoding"]
    assert not gateway.backend.calls


def test_headers_that_are_too_large_over_grpc(gateway: Gateway) -> None:
    large = (b"x-large", b"y" * gateway.settings.max_header_kilobytes * 1024)
    answer = exchange(gateway.port, sent("grpc", large, as_trailer=False))[0]
    assert (answer.status, answer.grpc_status) == (200, 8)
    assert "headers are larger" in answer.grpc_message


def test_metadata_with_an_underscore_is_served(gateway: Gateway) -> None:
    for door in DOORS:
        gateway.backend.forget()
        assert works(exchange(gateway.port, sent(door, (b"request_id", b"abc"), as_trailer=False))[0])
        assert gateway.backend.calls[-1].metadata["request_id"] == "abc"


@pytest.mark.parametrize(
    "malformed",
    [
        (b"x-bad", b"a\x01b"),
        (b"x bad", b"y"),
        (b"X-Upper", b"y"),
        (b"connection", b"close"),
        (b"te", b"gzip"),
        (b"", b"y"),
    ],
    ids=["value", "name", "upper case", "connection", "te", "no name"],
)
def test_a_malformed_header_ends_its_own_stream_alone(gateway: Gateway, malformed: tuple[bytes, bytes]) -> None:
    good = Request(request("GET", PAGES))
    before, bad, after = exchange(gateway.port, good, Request(request("GET", PAGES, malformed)), good)
    assert (before.status, after.status) == (200, 200)
    assert bad.is_reset or bad.status == 400


def test_a_malformed_header_over_http_1(gateway: Gateway) -> None:
    answer = httpx.Client(base_url=f"http://{gateway.address}").get(PAGES, headers=[(b"x-bad", b"a\x01b")])
    assert answer.status_code == 400
    assert "invalid_characters" in answer.json()["message"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-request-id"] == answer.json()["details"][1]["requestId"]
