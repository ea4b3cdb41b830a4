"""Calls with an idempotency key: one effect however often they are sent, and the answer of the first one."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import grpc
import httpx
import pytest
from plinth.operations.v1.cache_pb2 import InvalidateCacheRequest, InvalidateCacheResponse
from plinth.sites.v1 import page_pb2

from server import app
from server.domains.operations.cache import CacheService
from server.kernel.call import Call
from tests.clients import (
    TIMEOUT,
    Rest,
    Tenant,
    another_tenant,
    new_member,
    problem,
    reason,
    refused,
    rows,
    rpc_problem,
    stubs,
    unique,
)
from tests.domains.platform import new_platform_admin
from tests.guard.locks import PAGE, held
from tests.guard.roles import take
from tests.guard.workers import at
from tests.kernel.calls import Context
from tests.stack import Stack

CALLS = 100
REPLAY = "idempotent-replay"
KEY = "idempotency-key"
RUNNING = "IDEMPOTENT_CALL_RUNNING"
REUSED = (422, "IDEMPOTENCY_KEY_REUSED")
BESIDE = ("location", "etag", "content-type", "cache-control")
# So many that two messages with the same entries hardly ever have them in the same order.
SETTINGS: dict[str, Any] = {f"setting-{number}": number for number in range(30)}
# From 1 KB on, the gateway compresses answers.
SIZES = {"plain": SETTINGS, "compressed": SETTINGS | {"text": "x" * 2000}}
# What was written in the same transaction as a page.
RECORD = "SELECT * FROM idempotency_records WHERE xmin = (SELECT xmin FROM pages WHERE id = %s)"
EXPIRE = """
UPDATE idempotency_records SET expire_time = now() - interval '1 second'
 WHERE xmin = (SELECT xmin FROM pages WHERE id = %s) RETURNING id
"""
HOLDING = (
    "SELECT count(*) AS count FROM idempotency_records r WHERE position(%s::bytea IN convert_to(r::text, 'UTF8')) > 0"
)


def events(tenant: Tenant) -> Counter[str]:
    """How often something happened in a tenant since it was made."""
    made = "('tenant.created', 'session.switched')"
    found = rows(tenant.stack, f"SELECT type FROM events WHERE tenant_id = %s AND type NOT IN {made}", tenant.id)
    return Counter(row["type"] for row in found)


def slugs(tenant: Tenant) -> list[str]:
    """The slugs of a tenant's pages."""
    return [page["slug"] for page in tenant.rest.get(f"{tenant.path}/pages").json()["pages"]]


def create(tenant: Tenant, slug: str, key: str = "", rest: Rest | None = None) -> httpx.Response:
    """Create a page, with a key if there is one."""
    return (rest or tenant.rest).post(f"{tenant.path}/pages", {"slug": slug}, headers={KEY: key} if key else {})


def is_replay(response: httpx.Response) -> bool:
    """Whether an answer says that it is one of before."""
    assert response.headers.get(REPLAY) in {None, "true"}
    return REPLAY in response.headers


def check_replay(first: httpx.Response, again: httpx.Response) -> None:
    """Everything that the first answer said is said again, byte for byte."""
    assert first.is_success, first.text
    assert (is_replay(first), is_replay(again)) == (False, True)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert [again.headers.get(name) for name in BESIDE] == [first.headers.get(name) for name in BESIDE]


# One effect ----------------------------------------------------------------------------------------------------------


def all_at_once(calls: list[Callable[[], str]]) -> list[str]:
    """What all of these answer when they are called in the same moment."""
    start = threading.Barrier(len(calls))

    def begin(call: Callable[[], str]) -> str:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def create_by_grpc(tenant: Tenant, slug: str, key: str) -> str:
    """The page's id, or why there is none."""
    request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug=slug))
    try:
        return str(tenant.stubs.pages.CreatePage(request, metadata=[(KEY, key)]).id)
    except grpc.RpcError as error:
        return rpc_problem(error).reason


def create_by_rest(tenant: Tenant, slug: str, key: str) -> str:
    """The page's id, or why there is none."""
    response = create(tenant, slug, key)
    return str(response.json()["id"]) if response.status_code == 201 else problem(response).reason


def test_a_hundred_calls_at_once_have_one_effect(tenant: Tenant) -> None:
    """Through the gateway, and at both workers themselves."""
    first, second, slug, key = at(tenant, "api-0"), at(tenant, "api-1"), unique("page"), unique("key")
    ways: list[Callable[[], str]] = [
        lambda: create_by_rest(tenant, slug, key),
        lambda: create_by_grpc(tenant, slug, key),
        lambda: create_by_grpc(first, slug, key),
        lambda: create_by_grpc(second, slug, key),
    ]
    answers = Counter(all_at_once(ways * (CALLS // len(ways))))
    assert answers.total() == CALLS
    assert answers.keys() - {RUNNING} == {row["id"] for row in pages_of(tenant)}
    assert len(pages_of(tenant)) == 1
    assert events(tenant)["page.created"] == 1
    # Now that it is done, everybody hears of the same page.
    assert {way() for way in ways} == answers.keys() - {RUNNING}


def pages_of(tenant: Tenant) -> list[dict[str, Any]]:
    """The ids of a tenant's pages, deleted ones as well."""
    return rows(tenant.stack, "SELECT id::text AS id FROM pages WHERE tenant_id = %s", tenant.id)


def test_while_the_first_call_runs_others_are_told_when_to_try_again(tenant: Tenant) -> None:
    page, key = create(tenant, "page").json()["id"], unique("key")
    path, body = f"{tenant.path}/pages/{page}", {"title": "New"}
    request = page_pb2.UpdatePageRequest(tenant_id=tenant.id, page_id=page, page=page_pb2.Page(title="New"))
    request.update_mask.paths.append("title")
    with held(tenant.stack, PAGE, page) as lock, ThreadPoolExecutor(1) as pool:
        running = pool.submit(tenant.rest.patch, path, body, headers={KEY: key})
        lock.wait_for(1)
        by_rest = tenant.rest.patch(path, body, headers={KEY: key})
        by_grpc = refused(lambda: tenant.stubs.pages.UpdatePage(request, metadata=[(KEY, key)]))
        other = refused(lambda: tenant.stubs.pages.UpdatePage(request, metadata=[(KEY, unique("key"))], timeout=0.3))
        # Its caller may hear of the deadline before PostgreSQL does: what it waits for must not come true in between.
        lock.wait_for(1)
        lock.release()
        first = running.result()
    assert (reason(by_rest), by_rest.headers["retry-after"]) == ((409, RUNNING), "1")
    assert (by_grpc.code, by_grpc.reason) == (10, RUNNING)
    assert problem(by_rest).retry_after == by_grpc.retry_after == 1.0
    # Another key waits for the row, as two calls without a key would.
    assert other.code == 4
    check_replay(first, tenant.rest.patch(path, body, headers={KEY: key}))
    assert events(tenant)["page.updated"] == 1


def test_what_reaches_further_than_a_transaction_is_not_done_again(stack: Stack) -> None:
    """The handler of a custom method does not even begin."""
    begun: list[str] = []

    def note(_: CacheService, __: Call, request: InvalidateCacheRequest) -> InvalidateCacheResponse:
        begun.extend(request.tags)
        return InvalidateCacheResponse(tags=request.tags)

    with patch.object(CacheService, "invalidate_cache", note):
        application = app.build(stack.settings, "test", streams=False)
    application.open()
    try:
        serve: Any = application.routes["/plinth.operations.v1.CacheService/InvalidateCache"].handler.unary_unary
        context = {"authorization": f"Bearer {new_platform_admin(stack).access_token}", "idempotency_key": "key"}
        answers = [
            serve(InvalidateCacheRequest(tags=["tag"]).SerializeToString(), Context(**context)) for _ in range(2)
        ]
    finally:
        application.close()
    assert answers[0].SerializeToString() == answers[1].SerializeToString()
    assert begun == ["tag"]


# The answer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_a_replay_is_equal_byte_for_byte(tenant: Tenant, size: str) -> None:
    body = {"slug": "page", "title": "Straße 🛣", "settings": SIZES[size]}

    def send() -> httpx.Response:
        return tenant.rest.post(f"{tenant.path}/pages", body, headers={KEY: "create"})

    first = send()
    assert first.status_code == 201
    assert first.headers["location"] == f"{tenant.path}/pages/{first.json()['id']}"
    assert first.headers["etag"] == first.json()["etag"]
    # What has become of the page meanwhile is another question.
    changed = tenant.rest.patch(first.headers["location"], {"title": "Other", "settings": None})
    assert changed.status_code == 200
    for _ in range(4):
        check_replay(first, send())
    assert events(tenant) == {"page.created": 1, "page.updated": 1}


def test_a_replay_by_grpc_has_the_bytes_of_the_first_answer(tenant: Tenant) -> None:
    page = page_pb2.Page(slug="page")
    page.settings.update(SETTINGS)
    request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page).SerializeToString()
    metadata = (("authorization", f"Bearer {tenant.access_token}"), (KEY, "create"))
    answers, replays = [], []
    for name in ("api-0", "api-1", "api-0"):
        with grpc.insecure_channel(at(tenant, name).stack.target) as channel:
            create_page: Any = channel.unary_unary("/plinth.sites.v1.PageService/CreatePage")
            answer, call = create_page.with_call(request, metadata=metadata, timeout=20)
        answers.append(answer)
        replays.append(dict(call.trailing_metadata()).get(REPLAY))
    assert answers[1:] == answers[:1] * 2
    assert replays == [None, "true", "true"]


def test_a_call_by_rest_is_replayed_by_grpc(tenant: Tenant) -> None:
    made = create(tenant, "page", "key")
    assert create_by_grpc(tenant, "page", "key") == made.json()["id"]
    updated = tenant.rest.patch(made.headers["location"], {"title": "New"}, headers={KEY: "key"})
    request = page_pb2.UpdatePageRequest(
        tenant_id=tenant.id,
        page_id=made.json()["id"],
        page=page_pb2.Page(title="New"),
        update_mask={"paths": ["title"]},
    )
    replayed = tenant.stubs.pages.UpdatePage(request, metadata=[(KEY, "key")])
    assert replayed.etag == updated.headers["etag"]
    assert events(tenant) == {"page.created": 1, "page.updated": 1}


def test_a_delete_is_replayed(tenant: Tenant) -> None:
    page = create(tenant, "page").headers["location"]
    first = tenant.rest.delete(page, headers={KEY: "gone"})
    assert (first.status_code, first.content) == (204, b"")
    check_replay(first, tenant.rest.delete(page, headers={KEY: "gone"}))
    assert tenant.rest.delete(page, headers={KEY: "another"}).status_code == 404
    assert events(tenant)["page.deleted"] == 1


def test_a_new_api_key_is_shown_again_to_whoever_lost_the_answer_and_is_kept_from_all_others(tenant: Tenant) -> None:
    key, name = unique("key"), unique("name")
    body = {"name": name, "permissions": ["sites.pages.read"]}

    def send() -> httpx.Response:
        return tenant.rest.post(f"{tenant.path}/api-keys", body, headers={KEY: key})

    first = send()
    secret = first.json()["key"]
    check_replay(first, send())
    assert Rest(tenant.stack, secret).get(f"{tenant.path}/pages").status_code == 200
    assert events(tenant)["api_key.created"] == 1
    for text in (key, name, secret, secret.removeprefix("sn_live_"), first.json()["id"]):
        # As it is, and as bytea shows it.
        for written in (text, text.encode().hex()):
            assert rows(tenant.stack, HOLDING, written)[0]["count"] == 0, text


def test_what_is_stored_of_a_request_cannot_be_guessed_from(tenant: Tenant) -> None:
    """A request may hold a password."""
    made = create(tenant, "page", "key").json()["id"]
    (record,) = rows(tenant.stack, RECORD, made)
    request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug="page")).SerializeToString()
    plain = {hashlib.new(name, request).digest() for name in ("sha256", "blake2s", "sha3_256")}
    plain.add(hashlib.blake2b(request, digest_size=32).digest())
    assert bytes(record["request_hash"]) not in plain


# What a key counts for -----------------------------------------------------------------------------------------------


def test_another_payload_under_the_same_key_is_refused(tenant: Tenant) -> None:
    assert create(tenant, "one", "key").status_code == 201
    assert reason(create(tenant, "two", "key")) == REUSED
    request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug="one", title="More"))
    why = refused(lambda: tenant.stubs.pages.CreatePage(request, metadata=[(KEY, "key")]))
    assert (why.code, why.reason) == (3, "IDEMPOTENCY_KEY_REUSED")


def test_what_a_key_was_used_for_counts_more_than_what_is_wrong_with_the_call(tenant: Tenant) -> None:
    """Nothing is asked of the database before the handler finds the fault."""
    broken = {"slug": "two", "title": "a\0b"}
    refusal = tenant.rest.post(f"{tenant.path}/pages", broken, headers={KEY: "other"})
    assert (refusal.status_code, problem(refusal).reason) == (422, "RULE_VIOLATED")
    assert create(tenant, "one", "key").status_code == 201
    assert reason(tenant.rest.post(f"{tenant.path}/pages", broken, headers={KEY: "key"})) == REUSED
    assert slugs(tenant) == ["one"]
    assert events(tenant)["page.created"] == 1


def test_a_key_counts_for_one_caller_in_one_tenant_and_one_method(tenant: Tenant) -> None:
    other = another_tenant(tenant)
    _, member = new_member(tenant, "editor")
    key = tenant.rest.post(f"{tenant.path}/api-keys", {"name": "robot", "permissions": ["sites.pages.create"]})
    made = create(tenant, "one", "key")
    answers = [
        create(other, "one", "key"),
        create(tenant, "two", "key", Rest(tenant.stack, member.access_token)),
        create(tenant, "three", "key", Rest(tenant.stack, key.json()["key"])),
        tenant.rest.post(f"{made.headers['location']}/duplicate", {}, headers={KEY: "key"}),
        tenant.rest.post(f"{made.headers['location']}/publish", {}, headers={KEY: "key"}),
    ]
    assert [answer.is_success for answer in (made, *answers)] == [True] * 6, [answer.text for answer in answers]
    assert not any(map(is_replay, (made, *answers)))
    assert sorted(slugs(tenant)) == ["one", "one-copy", "three", "two"]
    assert slugs(other) == ["one"]


def test_who_may_no_longer_do_it_gets_no_replay(tenant: Tenant) -> None:
    account, member = new_member(tenant, "editor")
    rest = Rest(tenant.stack, member.access_token)
    assert create(tenant, "page", "key", rest).status_code == 201
    assert is_replay(create(tenant, "page", "key", rest))
    take(tenant, account, "editor")
    assert create(tenant, "page", "key", rest).status_code == 403


# What failed ---------------------------------------------------------------------------------------------------------


def test_a_call_that_failed_keeps_nothing(tenant: Tenant) -> None:
    in_the_way = create(tenant, "taken").headers["location"]
    assert reason(create(tenant, "taken", "key")) == (409, "RESOURCE_TAKEN")
    assert reason(create(tenant, "taken", "key")) == (409, "RESOURCE_TAKEN")
    assert tenant.rest.delete(in_the_way).status_code == 204
    first = create(tenant, "taken", "key")
    check_replay(first, create(tenant, "taken", "key"))
    assert reason(create(tenant, "Not a slug", "other")) == (422, "RULE_VIOLATED")
    assert not is_replay(create(tenant, "a-slug", "other"))
    assert sorted(slugs(tenant)) == ["a-slug", "taken"]


def test_a_key_may_be_used_anew_once_it_has_expired(tenant: Tenant) -> None:
    page = create(tenant, "page").headers["location"]

    def copy() -> httpx.Response:
        return tenant.rest.post(f"{page}/duplicate", {}, headers={KEY: "copy"})

    first = copy()
    check_replay(first, copy())
    assert len(rows(tenant.stack, EXPIRE, first.json()["id"])) == 1
    second = copy()
    check_replay(second, copy())
    assert sorted(slugs(tenant)) == ["page", "page-copy", "page-copy-2"]
    # The new record has taken the place of the old one.
    assert rows(tenant.stack, RECORD, first.json()["id"]) == []
    assert len(rows(tenant.stack, RECORD, second.json()["id"])) == 1


# How a key is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["x" * 256, "schlüssel", "tab\tbed", "emoji 🔑"])
def test_a_key_that_is_none_is_refused(tenant: Tenant, key: str) -> None:
    headers = {KEY.encode(): key.encode(), b"authorization": f"Bearer {tenant.access_token}".encode()}
    url = f"{tenant.stack.url}{tenant.path}/pages"
    refusal = httpx.post(url, json={"slug": "page"}, headers=headers, timeout=TIMEOUT, trust_env=False)
    assert refusal.status_code == 400, refusal.text
    assert problem(refusal).code == 3
    assert slugs(tenant) == []


@pytest.mark.parametrize("key", ["x" * 255, "7f1c3c6e-7d3a-4b43-9a52-2b9a9b8f0c11", '"quoted", with; signs'])
def test_a_key_may_be_any_printable_ascii(tenant: Tenant, key: str) -> None:
    check_replay(create(tenant, "page", key), create(tenant, "page", key))
    assert reason(create(tenant, "other", key)) == REUSED


@pytest.mark.parametrize(
    ("name", "worker"),
    # The gateway lets no name with an underscore through.
    [("idempotency-key", ""), ("request-id", ""), ("request_id", "api-0"), ("request-id", "api-0")],
)
def test_grpc_callers_may_name_it_otherwise(tenant: Tenant, name: str, worker: str) -> None:
    door = at(tenant, worker) if worker else tenant
    request = page_pb2.DuplicatePageRequest(tenant_id=tenant.id, page_id=create(tenant, "page").json()["id"])
    ids = {door.stubs.pages.DuplicatePage(request, metadata=[(name, "key")]).id for _ in range(3)}
    assert len(ids) == 1
    assert sorted(slugs(tenant)) == ["page", "page-copy"]


def test_a_read_takes_no_notice_of_a_key(tenant: Tenant) -> None:
    assert create(tenant, "one", "key").status_code == 201
    headers: Mapping[str, str] = {KEY: "key"}
    assert len(tenant.rest.get(f"{tenant.path}/pages", headers=headers).json()["pages"]) == 1
    assert create(tenant, "two").status_code == 201
    assert len(tenant.rest.get(f"{tenant.path}/pages", headers=headers).json()["pages"]) == 2


def test_the_request_id_is_no_key(stack: Stack, tenant: Tenant) -> None:
    """Proxies make one for every request, and some clients keep theirs."""
    pages = stubs(stack, tenant.access_token, x_request_id="the-same").pages
    request = page_pb2.DuplicatePageRequest(tenant_id=tenant.id, page_id=create(tenant, "page").json()["id"])
    assert len({pages.DuplicatePage(request).id for _ in range(2)}) == 2
