"""The keys of JSON bodies, as the server is told them, against Python's own reading of JSON."""

import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.extensions import POLICY
from server.gateway.descriptors import parse
from tests.edge.gateway import PAGES, Gateway, running

KEYS = "x-plinth-json-keys"
MAX_DEPTH = 30
# Keys that are no field of Page: the transcoder drops them and only the scanner has a say. `settings` is free-form.
NAMES = st.text(max_size=6).map(lambda text: f"_{text}") | st.sampled_from(
    ["a.b", "c[]", "d,e", "%", "%41", "ключ", "😀"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))
FREE = st.dictionaries(st.text(min_size=1), st.text() | st.booleans() | st.lists(st.none()))
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5) | st.fixed_dictionaries({"settings": FREE, "_x": VALUES})
DAMAGE = (
    b"\0", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xc2\xa0", b'"', b"'", b",", b":", b"{}", b"[", b"]", b"\\", b"\\u12",
    b"\\ud800", b" ", b"0", b"-", b"e", b"/**/", b'"_x":1,',
)  # fmt: skip
MALFORMED = (
    "[]", "null", '"x"', "1", "{", '{"a"}', "{'a':1}", "{a:1}", '{"":1}', '{"a":1,}', '{"a":01}',
    '{"a":1.}', '{"a":.5}', '{"a":+1}', '{"a":NaN}', '{"a":tru}', '{"a":"\\x"}', '{"a":"\\ud800"}', '{"a":1} x',
    '{"a":"\\udc00\\ud800"}', '{"a":"\n"}', '{"a":[1,]}', '{"a":[1 2]}', '{"a":1 "b":2}', '{"a":"',
    '{"a":"\\', '{"a":"\\u00',
)  # fmt: skip
# Without care: a path joined for every element, a search for every key, a pass over the rest for every string.
LARGE = {
    "long path": '{"' + "a" * 4000 + '":[' + ",".join(['{"b":1}'] * 400_000) + "]}",
    "many keys": '{"settings":{' + ",".join(f'"{number:x}":1' for number in range(100_000)) + "}}",
    "escapes": '{"_":"' + "\\u00e9" * 600_000 + '"}',
    "arabic": '{"_":"' + "أ" * 1_900_000 + '"}',
    "numbers": '{"_":[' + ",".join(["1"] * 1_900_000) + "]}",
}
REFUSED = re.compile(r"Byte \d+ of the body: |The body has |A key appears twice|`.*` has to be ")

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encode(key: str) -> str:
    return "".join(chr(byte) if re.match(rb"[A-Za-z0-9_-]", bytes([byte])) else f"%{byte:02X}" for byte in key.encode())


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():
            path = f"{prefix}.{encode(key)}" if prefix else encode(key)
            yield path
            if path != "settings":
                yield from paths(child, path)
    elif isinstance(value, list):
        for child in value:
            yield from paths(child, f"{prefix}[]")


def listed(document: Any) -> list[str]:
    return list(dict.fromkeys(paths(document)))


def depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(depth, children), default=0)


def read_strictly(text: bytes) -> dict[str, Any]:
    """Python's reading. Raises ValueError for no JSON object, a key twice, an empty key, and half a character."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs) or "" in dict(pairs):
            raise ValueError(pairs)
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    document = json.loads(text.decode(), object_pairs_hook=unique, parse_constant=refuse, parse_int=float)
    json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair cannot be encoded
    if not isinstance(document, dict) or depth(document) > MAX_DEPTH:
        raise ValueError
    return document


def post(gateway: Gateway, body: bytes) -> httpx.Response:
    gateway.backend.calls.clear()
    headers = {"content-type": "application/json", "authorization": "Bearer x"}
    return gateway.http.post(PAGES, content=body, headers=headers)


@pytest.fixture(scope="module")
def large_gateway() -> Iterator[Gateway]:
    """One that takes the largest bodies there may be: CreatePage declares so."""
    files = parse(resources.files("plinth").joinpath("descriptors.binpb").read_bytes())
    for method in (method for file in files.file for service in file.service for method in service.method):
        if method.name == "CreatePage":
            method.options.Extensions[POLICY].max_body_bytes = 4 * 1024 * 1024
    with running(descriptors=files.SerializeToString()) as gateway:
        yield gateway


def told(gateway: Gateway) -> str:
    return gateway.backend.calls[-1].metadata[KEYS]


@quick
@given(DOCUMENTS, st.data())
def test_the_server_is_told_every_key(gateway: Gateway, document: dict[str, Any], data: st.DataObject) -> None:
    indent = data.draw(st.sampled_from([None, 1, "\t"]))
    answer = post(gateway, json.dumps(document, indent=indent, ensure_ascii=data.draw(st.booleans())).encode())
    assert answer.status_code == 200, answer.text
    assert told(gateway) == ",".join(listed(document))


@quick
@given(DOCUMENTS, st.data())
def test_what_is_not_strict_json_is_refused(gateway: Gateway, document: dict[str, Any], data: st.DataObject) -> None:
    """A body that was damaged is refused exactly when Python refuses it."""
    body = bytearray(json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(DAMAGE))
    try:
        expected = listed(read_strictly(bytes(body)))
    except ValueError:
        expected = None
    answer = post(gateway, bytes(body))
    scanner_refused = answer.status_code == 400 and REFUSED.match(answer.json()["message"])
    assert bool(scanner_refused) == (expected is None), (bytes(body), answer.text)
    if answer.status_code == 200 and expected is not None:
        assert told(gateway) == ",".join(expected)


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        ("{}", ""),
        ("", ""),
        (' { "title" : null } ', "title"),
        ('{"a":[{"b":1},{"b":2,"c":[[{"d":3}]]}]}', "a,a[].b,a[].c,a[].c[][].d"),
        ('{"\\u0061\\u00e9\\ud83d\\ude00\\n\\"\\\\":1}', "a%C3%A9%F0%9F%98%80%0A%22%5C"),
        ('{"a.b":1,"a":{"b":2}}', "a%2Eb,a,a.b"),
        ('{"settings":{"x":{"y":1}},"x":{"settings":{"y":1}}}', "settings,x,x.settings,x.settings.y"),
        ('{"createTime":"2026-01-01T00:00:00Z"}', "createTime"),
    ],
)
def test_paths(gateway: Gateway, body: str, keys: str) -> None:
    assert post(gateway, body.encode()).status_code == 200
    assert told(gateway) == keys


@pytest.mark.parametrize("path", [f"{PAGES}/1/publish", f"{PAGES}/1/duplicate"])
def test_no_body_is_an_empty_object(gateway: Gateway, path: str) -> None:
    for client in (gateway.http, gateway.http2):
        gateway.backend.calls.clear()
        assert client.post(path).status_code == 200
        assert told(gateway) == ""
        assert gateway.backend.calls[-1].request.page_id == "1"


def test_calls_without_a_body_carry_no_keys(gateway: Gateway) -> None:
    gateway.http.get(PAGES)
    assert KEYS not in gateway.backend.calls[-1].metadata


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"a":1,"a":2}', "a"),
        ('{"a":1,"\\u0061":2}', "a"),
        ('{"a":{"b":[{"c":1,"c":1}]}}', "a.b[].c"),
        ('{"settings":{"x":1,"x":2}}', "settings.x"),
        ('{"settings":{"é":1,"é":2}}', "settings.%C3%A9"),
        ('{"settings":{"a":[{"b":{"x":1,"x":2}}]}}', "settings.a.b.x"),
        ('{"createTime":null,"create_time":null}', "createTime"),
        ('{"create_time":null,"createTime":null}', "create_time"),
    ],
)
def test_a_key_that_appears_twice_is_named(gateway: Gateway, body: str, field: str) -> None:
    answer = post(gateway, body.encode())
    assert answer.status_code == 400
    error = answer.json()
    assert error["code"] == 3
    assert error["details"][0]["reason"] == "MALFORMED"
    assert error["details"][0]["metadata"] == {"field": field}
    assert not gateway.backend.calls


@pytest.mark.parametrize("body", MALFORMED)
def test_malformed(gateway: Gateway, body: str) -> None:
    answer = post(gateway, body.encode())
    assert answer.status_code == 400
    assert REFUSED.match(answer.json()["message"])
    assert answer.json()["details"][0]["reason"] == "MALFORMED"


def test_depth(gateway: Gateway) -> None:
    nested = '{"a":' * MAX_DEPTH + "{}" + "}" * MAX_DEPTH
    assert post(gateway, nested.encode()).status_code == 400
    assert post(gateway, nested[5:-1].encode()).status_code == 200
    free = '{"settings":' + '{"a":' * (MAX_DEPTH - 2) + "{}" + "}" * (MAX_DEPTH - 1)
    assert post(gateway, free.encode()).status_code == 200, "the server's parser takes a Struct of this depth"


def test_limits(gateway: Gateway) -> None:
    assert post(gateway, json.dumps({f"_{number}": 1 for number in range(500)}).encode()).status_code == 200
    assert post(gateway, json.dumps({f"_{number}": 1 for number in range(501)}).encode()).status_code == 400
    assert post(gateway, json.dumps({"_" * 8192: 1}).encode()).status_code == 200
    assert post(gateway, json.dumps({"_" * 8193: 1}).encode()).status_code == 400


def test_a_byte_order_mark_is_passed_over(gateway: Gateway) -> None:
    assert post(gateway, b"\xef\xbb\xbf" + '{"title":"é"}'.encode()).status_code == 200
    assert gateway.backend.calls[-1].request.page.title == "é"
    assert told(gateway) == "title"


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**16, 2**64, 9007199254740993])
@pytest.mark.parametrize("where", ['{"settings":{"a":{"b":[%d]}}}', '{"settings":{"a":{"b":%d}}}'])
def test_a_whole_number_that_would_be_rounded(gateway: Gateway, number: int, where: str) -> None:
    answer = post(gateway, (where % number).encode())
    assert answer.status_code == 400
    assert answer.json()["details"][0]["metadata"] == {"field": "settings.a.b"}
    assert not gateway.backend.calls


@pytest.mark.parametrize("number", ["9007199254740992", "-9007199254740992", "1e300", "12345678901234567.5", "1E+20"])
def test_numbers_that_are_doubles(gateway: Gateway, number: str) -> None:
    assert post(gateway, f'{{"settings":{{"a":{number}}}}}'.encode()).status_code == 200
    assert gateway.backend.calls[-1].request.page.settings["a"] == float(number)


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_body_is_read_once(large_gateway: Gateway, kind: str) -> None:
    """The bodies are as large as any setting lets through; a search per key or element would take minutes."""
    assert post(large_gateway, LARGE[kind].encode()).status_code == 200
