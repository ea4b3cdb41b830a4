"""Uploads at the public door: whole or not at all, over each protocol, with little memory."""

import asyncio
import hashlib
import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from io import BytesIO
from typing import Any, BinaryIO

import grpc
import httpx
import psutil
import pytest
from plinth.client import AsyncPlinth, InvalidArgument, Plinth
from plinth.client.aio.methods import AsyncUploadMethod
from plinth.client.methods import UploadMethod
from plinth.client.rpc import Rpc
from plinth.client.uploading import PIECE_BYTES

from tests.clients import Tenant, new_tenant, problem, rows, rpc_problem
from tests.inbound import contract
from tests.inbound.conftest import HookStack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

PATH = "/api/v1/files/inbox?label=mine"
EVENTS = "SELECT resource_id FROM events WHERE tenant_id = %s AND type = 'file.put'"
ENTRIES = "SELECT outcome, reason FROM audit_entries WHERE tenant_id = %s AND method LIKE '%%PutFile'"
MEGABYTE = 1024 * 1024
LARGE = 200
DROPS = 30


@pytest.fixture
def tenant(hook_stack: HookStack) -> Tenant:
    return new_tenant(hook_stack)


@pytest.fixture(params=["http1", "http2"])
def client(request: pytest.FixtureRequest, hook_stack: HookStack, tenant: Tenant) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {tenant.access_token}"}
    is_new = request.param == "http2"
    with httpx.Client(
        base_url=hook_stack.url, headers=headers, timeout=60, trust_env=False, http1=not is_new, http2=is_new
    ) as made:
        yield made


def stored(stack: HookStack) -> set[str]:
    return {path.name for path in stack.files.iterdir()}


def pieces(megabytes: int) -> Iterator[bytes]:
    piece = os.urandom(MEGABYTE)
    for _ in range(megabytes):
        yield piece


@pytest.mark.parametrize("body", [b"", b"\0\xff{" * 1_000_000], ids=["empty", "large"])
def test_a_file_arrives_whole(hook_stack: HookStack, tenant: Tenant, client: httpx.Client, body: bytes) -> None:
    answer = client.post(PATH, content=body, headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found | {"id": ""} == {
        "id": "",
        "folder": "inbox",
        "label": "mine",
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "contentType": "image/png",
        "fileName": "",
    }
    assert (hook_stack.files / found["id"]).read_bytes() == body
    assert [row["resource_id"] for row in rows(hook_stack, EVENTS, tenant.id)] == [found["id"]]
    assert rows(hook_stack, ENTRIES, tenant.id) == [{"outcome": "OK", "reason": ""}]


def test_the_file_of_a_form(hook_stack: HookStack, client: httpx.Client) -> None:
    body = os.urandom(3 * MEGABYTE) + b"\r\n--"
    form = {"file": ("Größe.png", body, "image/png"), "other": ("b.png", b"b", "image/png")}
    answer = client.post(PATH, data={"before": "x"}, files=form)
    assert answer.status_code == 200, answer.text
    assert (hook_stack.files / answer.json()["id"]).read_bytes() == body
    assert (answer.json()["contentType"], answer.json()["fileName"]) == ("image/png", "Größe.png")


def test_large_files_take_little_memory(hook_stack: HookStack, client: httpx.Client) -> None:
    roles = [psutil.Process(hook_stack.pid(name)) for name in ("realtime-0", "envoy")]
    peaks = [role.memory_info().rss for role in roles]
    before = list(peaks)

    def sent() -> Iterator[bytes]:
        for piece in pieces(LARGE):
            peaks[:] = [max(peak, role.memory_info().rss) for peak, role in zip(peaks, roles, strict=True)]
            yield piece

    answer = client.post(PATH, content=sent(), headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["size"]) == (200, LARGE * MEGABYTE)
    grown = [(peak - start) / MEGABYTE for peak, start in zip(peaks, before, strict=True)]
    assert max(grown) < LARGE / 4, grown


def test_too_much_leaves_nothing(hook_stack: HookStack, tenant: Tenant) -> None:
    before = stored(hook_stack)
    headers = {"content-type": "image/png", "authorization": f"Bearer {tenant.access_token}"}
    # Over HTTP/2, this client waits for room to send on, and does not see an answer that comes meanwhile.
    with httpx.Client(base_url=hook_stack.url, headers=headers, timeout=60, trust_env=False) as client:
        answer = client.post(PATH, content=pieces(257))
    assert (answer.status_code, problem(answer).reason) == (413, "TOO_LARGE")
    hook_stack.wait_for(lambda: stored(hook_stack) <= before)
    assert rows(hook_stack, EVENTS, tenant.id) == []


def test_what_says_that_it_is_too_much_is_refused_at_once(hook_stack: HookStack, tenant: Tenant) -> None:
    with socket.create_connection(("127.0.0.1", hook_stack.port)) as connection:
        connection.sendall(head(tenant, 300 * MEGABYTE))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def head(tenant: Tenant, length: int) -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {length}\r\n"
        f"authorization: Bearer {tenant.access_token}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("path", "headers", "refusal"),
    [
        ("inbox", {"content-type": "text/plain"}, (415, "CONTENT_TYPE_UNSUPPORTED")),
        ("inbox", {"content-type": "multipart/form-data"}, (400, "MALFORMED")),
        ("inbox", {"content-encoding": "gzip"}, (415, "CONTENT_TYPE_UNSUPPORTED")),
        ("x" * 21, {}, (422, "RULE_VIOLATED")),
        ("inbox?label=refused", {}, (409, "STATE_FORBIDS")),
        ("inbox", {"authorization": "Bearer x"}, (401, "CREDENTIALS_INVALID")),
    ],
)
def test_what_is_refused_leaves_nothing(
    hook_stack: HookStack, client: httpx.Client, path: str, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    before = stored(hook_stack)
    answer = client.post(f"/api/v1/files/{path}", content=b"x", headers={"content-type": "image/png"} | headers)
    assert (answer.status_code, problem(answer).reason) == refusal
    hook_stack.wait_for(lambda: stored(hook_stack) <= before)


def test_a_form_that_is_cut_off_leaves_nothing(hook_stack: HookStack, client: httpx.Client) -> None:
    before = stored(hook_stack)
    whole = client.build_request("POST", PATH, files={"file": ("a.png", b"x" * 1000, "image/png")})
    answer = client.post(PATH, content=whole.read()[:-4], headers={"content-type": whole.headers["content-type"]})
    assert (answer.status_code, problem(answer).reason) == (400, "MALFORMED")
    hook_stack.wait_for(lambda: stored(hook_stack) <= before)


def test_connections_that_drop_leave_nothing(hook_stack: HookStack, tenant: Tenant) -> None:
    before = stored(hook_stack)
    for size in range(DROPS):
        with socket.create_connection(("127.0.0.1", hook_stack.port)) as connection:
            connection.sendall(head(tenant, 5 * MEGABYTE) + b"x" * (2 * MEGABYTE + size))
            hook_stack.wait_for(lambda: any(name.endswith(".part") for name in stored(hook_stack) - before))
        hook_stack.wait_for(lambda: not any(name.endswith(".part") for name in stored(hook_stack) - before))
    assert stored(hook_stack) <= before
    assert rows(hook_stack, EVENTS, tenant.id) == []


def test_the_same_key_stores_the_same_bytes_once(hook_stack: HookStack, tenant: Tenant, client: httpx.Client) -> None:
    headers = {"content-type": "image/png", "idempotency-key": "once"}
    first, again = (client.post(PATH, content=b"x" * 100_000, headers=headers) for _ in range(2))
    assert first.content == again.content
    assert again.headers["idempotent-replay"] == "true"
    other = client.post(PATH, content=b"y" * 100_000, headers=headers)
    assert (other.status_code, problem(other).reason) == (422, "IDEMPOTENCY_KEY_REUSED")
    (row,) = rows(hook_stack, EVENTS, tenant.id)
    hook_stack.wait_for(lambda: not any(name.endswith(".part") for name in stored(hook_stack)))
    assert (hook_stack.files / row["resource_id"]).read_bytes() == b"x" * 100_000


def test_slow_ones_fill_their_places_and_no_others(hook_stack: HookStack, tenant: Tenant) -> None:
    request: Any = contract.message("PutFileRequest")
    metadata = (("authorization", f"Bearer {tenant.access_token}"),)
    before = stored(hook_stack)

    def messages(gate: Any) -> Iterator[Any]:
        yield request(folder="slow", content={"content_type": "image/png", "data": b"x"})
        gate.result()

    with grpc.insecure_channel(hook_stack.target) as channel:
        put = channel.stream_unary(
            f"/{contract.SERVICE.full_name}/PutFile", request.SerializeToString, contract.message("File").FromString
        )

        gate: Future[None] = Future()
        held = [put.future(messages(gate), metadata=metadata, timeout=60) for _ in range(32)]
        hook_stack.wait_for(lambda: sum(name.endswith(".part") for name in stored(hook_stack)) == 32)
        with pytest.raises(grpc.RpcError) as refused:
            put(messages(gate), metadata=metadata, timeout=60)
        assert (rpc_problem(refused.value).reason, rpc_problem(refused.value).retry_after) == ("OVERLOADED", 5.0)
        # Neither a thread nor a connection is theirs meanwhile.
        assert tenant.rest.get(tenant.path).status_code == 200
        with grpc.insecure_channel(hook_stack.target) as other:
            events = other.unary_stream("/plinth.realtime.v1.RealtimeService/WatchEvents", bytes, bytes)(
                b"", metadata=metadata, timeout=60
            )
            assert events.initial_metadata() is not None
            events.cancel()
        gate.set_result(None)
        assert [each.result().size for each in held] == [1] * 32
    assert len(stored(hook_stack) - before) == 32


def test_the_python_client_sends_a_file_and_tells_how_far_it_is(hook_stack: HookStack, tenant: Tenant) -> None:
    request, response = contract.message("PutFileRequest"), contract.message("File")
    rpc: Rpc[Any, Any] = Rpc(f"/{contract.SERVICE.full_name}/PutFile", request, response)
    body, told = os.urandom(3 * PIECE_BYTES + 5), list[tuple[int, int | None]]()

    def show(done: int, total: int | None) -> None:
        told.append((done, total))

    def check(found: Any) -> None:
        assert (hook_stack.files / found.id).read_bytes() == body[2:]
        assert (found.folder, found.content_type) == ("mine", "image/png")
        ends = [*(PIECE_BYTES * number for number in (1, 2, 3)), len(body) - 2]
        assert told == [(end, len(body) - 2) for end in ends]
        told.clear()

    def file() -> BinaryIO:
        opened = BytesIO(body)
        # It is read from where it stands.
        opened.seek(2)
        return opened

    with Plinth(hook_stack.url, token=tenant.access_token) as client:
        put = UploadMethod(client.calls, rpc)
        check(put.send(request(folder="mine"), file(), content_type="image/png", progress=show))
        empty = put.send(request(folder="mine"), BytesIO(), content_type="image/png")
        assert empty.size == 0
        with pytest.raises(ValueError, match="File takes no file"):
            put.send(response(), BytesIO())
        with pytest.raises(InvalidArgument):
            put.send(request(folder="mine"), BytesIO(b"x"), content_type="text/plain")

    async def send() -> Any:
        async with AsyncPlinth(hook_stack.url, token=tenant.access_token) as client:
            put = AsyncUploadMethod(client.calls, rpc)
            return await put.send(request(folder="mine"), file(), content_type="image/png", progress=show)

    check(asyncio.run(send()))
