"""Raw bodies from the public door to the handler."""

import gzip
import hashlib
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import grpc
import httpx
import psutil
import pytest
import zstandard

from tests.clients import Rest, Tenant, new_tenant, problem, rpc_problem
from tests.inbound import contract
from tests.inbound.conftest import HookStack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

REPORTS = "/api/v1/reports/7/envelope"
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
# Of 64 MB each, in a few hundred bytes or KB.
BOMB, BOMBS = 64, 60
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def rest(hook_stack: HookStack) -> Rest:
    return Rest(hook_stack)


@pytest.fixture(scope="module")
def tenant(hook_stack: HookStack) -> Tenant:
    return new_tenant(hook_stack)


def send(rest: Rest, body: bytes, **headers: str) -> httpx.Response:
    return rest.request(
        "POST", REPORTS, content=body, headers={name.replace("_", "-"): headers[name] for name in headers}
    )


@pytest.mark.parametrize("kind", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "x/envelope"])
def test_the_handler_gets_what_was_sent(rest: Rest, kind: str) -> None:
    sent = b'{"a": 1,  "a": 2}\r\n\0\xff+%20'
    answer = send(rest, sent, content_type=kind)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["sha256"], answer.json()["contentType"]) == (hashlib.sha256(sent).hexdigest(), kind)
    assert answer.headers["x-report-limits"] == "60:error:key"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_inflated(rest: Rest, encoding: str) -> None:
    body = b'{"level": "error"}\n' * 50_000
    answer = send(rest, ENCODINGS[encoding](body), content_encoding=encoding)
    assert answer.status_code == 200, answer.text
    assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()
    broken = send(rest, ENCODINGS[encoding](body)[:-1], content_encoding=encoding)
    assert (broken.status_code, problem(broken).reason) == (400, "MALFORMED")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_bombs_are_refused_and_take_no_memory(hook_stack: HookStack, rest: Rest, encoding: str) -> None:
    bomb = ENCODINGS[encoding](b"\0" * BOMB * MEGABYTE)
    roles = [name for name in hook_stack.processes() if name.startswith(("api", "envoy", "gateway"))]
    assert len(roles) >= 2, hook_stack.processes()

    def resident() -> dict[str, int]:
        return {name: psutil.Process(hook_stack.pid(name)).memory_info().rss for name in roles}

    for _ in range(BOMBS):
        refuse(rest, bomb, encoding)
    before = resident()
    for _ in range(BOMBS):
        refuse(rest, bomb, encoding)
    grown = {name: (size - before[name]) / MEGABYTE for name, size in resident().items()}
    # A single one inflated would be twice as much.
    assert max(grown.values()) < BOMB / 2, grown


def refuse(rest: Rest, bomb: bytes, encoding: str) -> None:
    refused = send(rest, bomb, content_encoding=encoding)
    assert (refused.status_code, problem(refused).reason) == (413, "TOO_LARGE")
    assert problem(refused).metadata == {"limit_bytes": str(MEGABYTE)}


def test_rules_of_other_fields_hold(rest: Rest) -> None:
    refused = rest.request("POST", f"/api/v1/reports/0/envelope?report_key={'k' * 33}", content=b"x")
    assert refused.status_code == 422
    assert set(problem(refused).violations) == {"project", "reportKey"}


def test_a_signed_in_caller_sends_bytes(tenant: Tenant, rest: Rest) -> None:
    headers = {"content-type": "image/png", "authorization": f"Bearer {tenant.access_token}"}
    image = b"\x89PNG" * 250_000
    answer = rest.request("POST", "/api/v1/images", content=image, headers=headers)
    assert (answer.status_code, answer.json().get("size")) == (200, len(image))
    assert (
        rest.request("POST", "/api/v1/images", content=b"x", headers={"content-type": "image/png"}).status_code == 401
    )


def test_the_same_key_has_one_effect_for_the_same_bytes_only(tenant: Tenant, rest: Rest) -> None:
    headers = {"content-type": "image/png", "authorization": f"Bearer {tenant.access_token}", "idempotency-key": "one"}
    first, again = (rest.request("POST", "/api/v1/images", content=b"x", headers=headers) for _ in range(2))
    assert first.content == again.content
    assert again.headers["idempotent-replay"] == "true"
    assert rest.request("POST", "/api/v1/images", content=b"y", headers=headers).status_code == 422


def test_callers_of_grpc_are_bound_by_the_same_limits(hook_stack: HookStack, tenant: Tenant) -> None:
    request: Any = contract.message("TakeImageRequest")

    def take(body: bytes, kind: str) -> Any:
        sent = request(image={"data": body, "content_type": kind})
        with grpc.insecure_channel(hook_stack.target) as channel:
            call = channel.unary_unary(
                f"/{contract.PACKAGE}.HookService/TakeImage",
                request.SerializeToString,
                contract.message("Report").FromString,
            )
            return call(sent, metadata=(("authorization", f"Bearer {tenant.access_token}"),), timeout=30)

    assert take(b"x" * 2_000_000, "image/png").size == 2_000_000
    for body, kind, why in ((b"x" * 2_000_001, "image/png", "TOO_LARGE"), (b"x", "x/y", "CONTENT_TYPE_UNSUPPORTED")):
        with pytest.raises(grpc.RpcError) as refused:
            take(body, kind)
        assert rpc_problem(refused.value).reason == why


def test_the_answer_to_a_check_is_the_bare_challenge(rest: Rest) -> None:
    query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    answer = rest.get(f"/api/v1/hooks/r?{query}s3cret")
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"] == "text/plain"
    assert rest.get(f"/api/v1/hooks/r?{query}other").status_code == 403


def test_what_a_caller_claims_of_the_encoding_inside_is_not_believed(rest: Rest) -> None:
    answer = send(rest, b"x", x_plinth_content_encoding="gzip")
    assert (answer.status_code, answer.json()["size"]) == (200, 1)
