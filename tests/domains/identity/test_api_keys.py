"""API keys: made once and shown once, good for what they permit, and dead from the next call on when they are ended."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
import pytest
from plinth.identity.v1.api_key_pb2 import ApiKey, CreateApiKeyRequest, GetApiKeyRequest, RevokeApiKeyRequest
from plinth.sites.v1 import page_pb2_grpc
from plinth.sites.v1.page_pb2 import ListPagesRequest, WatchPagesRequest

from server.data.statements import Row
from server.data.transactions import Database
from server.domains.identity import api_keys
from server.domains.identity.api_keys import FORMAT, ApiKeys, key_hash, new_key, shown
from server.kernel.clock import utc_now
from server.kernel.problems import Unauthenticated
from server.secrets import Secrets
from tests.clients import (
    Rest,
    Tenant,
    another_tenant,
    database,
    new_member,
    problem,
    reason,
    refused,
    rows,
    rpc_problem,
    stubs,
)
from tests.domains.events import events_of
from tests.kernel.database import connections
from tests.stack import Stack, wait_for
from tests.streams import sse, writers

READ, CREATE = "sites.pages.read", "sites.pages.create"
WORKERS = ("api-0", "api-1")
ABSENT = "01890000-0000-7000-8000-000000000000"
PERMISSION_DENIED, UNAUTHENTICATED = (
    grpc.StatusCode.PERMISSION_DENIED.value[0],
    grpc.StatusCode.UNAUTHENTICATED.value[0],
)


def path(tenant: Tenant, key: dict[str, Any] | None = None, verb: str = "") -> str:
    """Where the keys of a tenant are, or one of them."""
    return "/".join(filter(None, (tenant.path, "api-keys", key["id"] if key else "", verb)))


def make(tenant: Tenant, *permissions: str, rest: Rest | None = None, **facts: Any) -> dict[str, Any]:
    """A new key, as the only answer that shows it."""
    body = {"name": "Importer", "permissions": permissions or [READ], **facts}
    return _body((rest or tenant.rest).post(path(tenant), body), 201)


def rotate(tenant: Tenant, key: dict[str, Any], overlap: str = "") -> dict[str, Any]:
    """The key with its new secret."""
    return _body(tenant.rest.post(path(tenant, key, "rotate"), {"overlap": overlap} if overlap else {}), 200)


def use(tenant: Tenant, key: dict[str, Any]) -> httpx.Response:
    """A call that READ permits."""
    return Rest(tenant.stack, key["key"]).get(f"{tenant.path}/pages")


def works(tenant: Tenant, key: dict[str, Any]) -> bool:
    """Whether a key is good. A secret that was replaced is unknown to a worker that has never seen it."""
    response = use(tenant, key)
    assert response.is_success or reason(response) in ((401, "API_KEY_ENDED"), (401, "CREDENTIALS_INVALID"))
    return response.is_success


def _body(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def unshown(key: dict[str, Any]) -> dict[str, Any]:
    """A key as anybody sees it later."""
    return key | {"key": ""}


def logged(stack: Stack, request_id: str) -> str:
    """Everything that the stack has logged, as soon as the line of this call is there."""
    folder = stack.data_dir / "logs"

    def read() -> str:
        return "".join(file.read_text() for file in folder.iterdir())

    wait_for(lambda: request_id in read(), what="the log line")
    return read()


@contextmanager
def worker(stack: Stack, name: str) -> Iterator[Any]:
    """The pages at one worker, past the gateway, which would choose one."""
    with grpc.insecure_channel(f"unix:{stack.settings.socket(name)}") as channel:
        make_stub: Any = page_pb2_grpc.PageServiceStub
        yield make_stub(channel)


def ask_worker(tenant: Tenant, name: str, secret: str) -> str:
    """What one worker answers to a secret: `OK`, or the reason of its refusal."""
    with worker(tenant.stack, name) as pages:
        request, metadata = ListPagesRequest(tenant_id=tenant.id), [("authorization", f"Bearer {secret}")]
        try:
            pages.ListPages(request, metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            return rpc_problem(error).reason
    return "OK"


# Making --------------------------------------------------------------------------------------------------------------


def test_a_new_key_says_what_it_is(tenant: Tenant) -> None:
    response = tenant.rest.post(path(tenant), {"name": "Importer", "permissions": [READ], "callsPerMinute": 90})
    key = _body(response, 201)
    assert response.headers["location"] == path(tenant, key)
    assert response.headers["etag"] == key["etag"]
    assert FORMAT.fullmatch(key["key"])
    assert key == key | {
        "name": "Importer",
        "environment": "ENVIRONMENT_LIVE",
        "permissions": [READ],
        "prefix": key["key"][:16],
        "callsPerMinute": 90,
        "createUserId": tenant.owner.id,
    }
    assert key["previousPrefix"] == ""
    assert not {"expireTime", "lastUseTime", "revokeTime", "previousExpireTime"} & set(key)


@pytest.mark.parametrize(
    ("environment", "start"),
    [
        ("ENVIRONMENT_LIVE", "sn_live_"),
        ("ENVIRONMENT_TEST", "sn_test_"),
        ("ENVIRONMENT_UNSPECIFIED", "sn_live_"),
    ],
)
def test_a_key_shows_what_it_is_for(tenant: Tenant, environment: str, start: str) -> None:
    key = make(tenant, environment=environment)
    assert key["environment"] == ("ENVIRONMENT_TEST" if start == "sn_test_" else "ENVIRONMENT_LIVE")
    assert key["key"].startswith(start)
    assert use(tenant, key).status_code == 200


def test_a_key_is_shown_once(tenant: Tenant) -> None:
    first = make(tenant)
    second = rotate(tenant, first, "600s")
    assert tenant.rest.get(path(tenant, first)).json() == unshown(second)
    assert tenant.rest.get(path(tenant)).json()["apiKeys"] == [unshown(second)]
    mine = GetApiKeyRequest(tenant_id=tenant.id, api_key_id=first["id"])
    assert tenant.stubs.api_keys.GetApiKey(mine).key == ""
    written = events_of(tenant.stack, tenant.id)
    kinds = [event.type for event in written if event.type.startswith("api_key.")]
    assert kinds == ["api_key.created", "api_key.rotated"]
    for secret in (first["key"], second["key"]):
        assert all(secret[16:].encode() not in event.raw for event in written)


def test_a_key_is_stored_nowhere(tenant: Tenant) -> None:
    once = {"idempotency-key": "once"}
    response = tenant.rest.post(path(tenant), {"name": "n", "permissions": [READ]}, headers=once)
    key = _body(response, 201)
    rotated = rotate(tenant, key, "600s")
    row = rows(tenant.stack, "SELECT *, api_keys::text AS whole FROM api_keys WHERE id = %s", key["id"])[0]
    assert (row["previous_prefix"], row["prefix"]) == (key["prefix"], rotated["prefix"])
    assert {len(row["secret_hash"]), len(row["previous_hash"])} == {32}
    kept = rows(tenant.stack, "SELECT idempotency_records::text AS whole FROM idempotency_records")
    assert kept
    for secret in (key["key"], rotated["key"]):
        stored = [row["whole"], *(record["whole"] for record in kept)]
        for form in (secret[16:], secret[16:].encode().hex()):
            assert not any(form in text for text in stored)


def test_a_key_is_not_logged(tenant: Tenant) -> None:
    key = make(tenant)
    response = use(tenant, key)
    assert response.status_code == 200
    log = logged(tenant.stack, response.headers["x-request-id"])
    assert key["id"] in log
    assert key["key"][16:] not in log


def test_a_repeated_call_gets_the_same_key(tenant: Tenant) -> None:
    body, once = {"name": "Importer", "permissions": [READ]}, {"idempotency-key": "once"}
    first, second = (_body(tenant.rest.post(path(tenant), body, headers=once), 201) for _ in range(2))
    assert first == second
    assert len(tenant.rest.get(path(tenant)).json()["apiKeys"]) == 1
    assert use(tenant, second).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"permissions": []}, "permissions"),
        ({"permissions": [READ, "sites.pages.fold"]}, "permissions[1]"),
        ({"permissions": ["*"]}, "permissions[0]"),
        ({"permissions": ["platform.cache.flush"]}, "permissions[0]"),
        ({"name": ""}, "name"),
        ({"expireTime": "2020-01-01T00:00:00Z"}, "expireTime"),
        ({"expireTime": "1970-01-01T00:00:00Z"}, "expireTime"),
        ({"permissions": [READ, READ]}, "permissions"),
        ({"callsPerMinute": -1}, "callsPerMinute"),
        ({"environment": 9}, "environment"),
        ({"name": "n" * 201}, "name"),
    ],
)
def test_a_key_keeps_the_rules(tenant: Tenant, wrong: dict[str, Any], field: str) -> None:
    response = tenant.rest.post(path(tenant), {"name": "Importer", "permissions": [READ], **wrong})
    assert reason(response) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {field}
    assert tenant.rest.get(path(tenant)).json()["apiKeys"] == []


def test_every_broken_rule_is_named(tenant: Tenant) -> None:
    wrong = {"name": "n", "permissions": ["a.b.c", READ, "d.e.f"], "expireTime": "2020-01-01T00:00:00Z"}
    assert set(problem(tenant.rest.post(path(tenant), wrong)).violations) == {
        "permissions[0]",
        "permissions[2]",
        "expireTime",
    }


def test_a_year_that_no_calendar_has_is_refused(tenant: Tenant) -> None:
    key = ApiKey(name="n", permissions=[READ])
    key.expire_time.seconds = 10**15
    why = refused(lambda: tenant.stubs.api_keys.CreateApiKey(CreateApiKeyRequest(tenant_id=tenant.id, api_key=key)))
    assert (why.code, why.reason) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "RULE_VIOLATED")


def test_what_is_output_only_is_not_taken_from_the_caller(tenant: Tenant) -> None:
    mine = {
        "key": "sn_live_mine",
        "prefix": "sn_live_mine",
        "createUserId": ABSENT,
        "revokeTime": "2020-01-01T00:00:00Z",
    }
    for name, value in mine.items():
        body = {"name": "mine", "permissions": [READ], name: value}
        answer = tenant.rest.post(f"{tenant.path}/api-keys", body)
        assert (answer.status_code, problem(answer).rules) == (422, ("read_only",)), name
    key = make(tenant, createUserId=tenant.owner.id)
    assert FORMAT.fullmatch(key["key"])
    assert (key["prefix"], key["createUserId"]) == (key["key"][:16], tenant.owner.id)
    assert use(tenant, key).status_code == 200


# Using ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_key_works_over_both_doors_in_both_headers(tenant: Tenant, header: str) -> None:
    secret = make(tenant, READ, CREATE)["key"]
    value = f"Bearer {secret}" if header == "authorization" else secret
    rest = Rest(tenant.stack)
    page = _body(rest.post(f"{tenant.path}/pages", {"slug": "by-key"}, headers={header: value}), 201)
    assert _body(rest.get(f"{tenant.path}/pages/{page['id']}", headers={header: value}), 200) == page
    found = stubs(tenant.stack, **{header: value}).pages.ListPages(ListPagesRequest(tenant_id=tenant.id))
    assert [one.id for one in found.pages] == [page["id"]]


def test_what_a_key_does_is_written_down_as_its_doing(tenant: Tenant) -> None:
    key = make(tenant, CREATE)
    page = _body(Rest(tenant.stack, key["key"]).post(f"{tenant.path}/pages", {"slug": "by-key"}), 201)
    event = events_of(tenant.stack, tenant.id)[-1]
    assert (event.type, event.resource_id, event.actor_id) == ("page.created", page["id"], key["id"])


def test_a_key_may_do_what_it_says_and_nothing_else(tenant: Tenant) -> None:
    rest = Rest(tenant.stack, make(tenant, CREATE)["key"])
    assert rest.post(f"{tenant.path}/pages", {"slug": "by-key"}).status_code == 201
    denied = {
        READ: rest.get(f"{tenant.path}/pages"),
        "tenancy.tenants.read": rest.get(tenant.path),
        "identity.api_keys.read": rest.get(path(tenant)),
        "identity.api_keys.create": rest.post(path(tenant), {"name": "n", "permissions": [CREATE]}),
    }
    for permission, response in denied.items():
        assert reason(response) == (403, "PERMISSION_MISSING")
        assert problem(response).metadata == {"permission": permission}


def test_a_key_is_good_for_its_tenant_only(tenant: Tenant) -> None:
    key, other = make(tenant), another_tenant(tenant)
    response = Rest(tenant.stack, key["key"]).get(f"{other.path}/pages")
    assert reason(response) == (404, "RESOURCE_NOT_FOUND")
    absent = refused(lambda: stubs(tenant.stack, key["key"]).pages.ListPages(ListPagesRequest(tenant_id=other.id)))
    assert absent.reason == "RESOURCE_NOT_FOUND"
    for answer in (
        other.rest.get(path(other, key)),
        other.rest.delete(path(other, key)),
        other.rest.post(path(other, key, "rotate"), {}),
    ):
        assert reason(answer) == (404, "RESOURCE_NOT_FOUND")
    assert other.rest.get(path(other)).json()["apiKeys"] == []
    assert works(tenant, key)


def test_a_key_is_nobody(tenant: Tenant) -> None:
    rest = Rest(tenant.stack, make(tenant, "tenancy.tenants.read")["key"])
    for response in (
        rest.post("tenants", {"subdomain": "by-a-key", "name": "n"}),
        rest.post("auth/logout"),
        rest.get("auth/me"),
        rest.post("auth/switch-tenant", {"tenantId": tenant.id}),
    ):
        assert reason(response) == (403, "USER_REQUIRED")


@pytest.mark.parametrize("bend", ["another end", "another start", "too long", "too short", "no form"])
def test_a_wrong_key_is_refused_and_not_logged(tenant: Tenant, bend: str) -> None:
    good = make(tenant)["key"]
    wrong = {
        "another end": good[:16] + new_key(ApiKey.ENVIRONMENT_LIVE)[16:],
        "another start": new_key(ApiKey.ENVIRONMENT_TEST),
        "too long": f"{good}A",
        "too short": good[:-1],
        "no form": f"sn_live_{good[8:30]}%00'{good[35:]}",
    }[bend]
    response = Rest(tenant.stack, wrong).get(f"{tenant.path}/pages")
    assert reason(response) == (401, "CREDENTIALS_INVALID")
    assert wrong not in response.text
    log = logged(tenant.stack, response.headers["x-request-id"])
    assert wrong not in log
    assert good[16:] not in log
    why = refused(lambda: stubs(tenant.stack, wrong).pages.ListPages(ListPagesRequest(tenant_id=tenant.id)))
    assert (why.code, why.reason) == (UNAUTHENTICATED, "CREDENTIALS_INVALID")


def test_a_key_has_a_limit_of_its_own(tenant: Tenant) -> None:
    key = make(tenant, callsPerMinute=3)
    answers = [use(tenant, key) for _ in range(20)]
    refusal = next(answer for answer in answers if answer.status_code == 429)
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    why = problem(refusal)
    assert why.reason == "RATE_LIMITED"
    assert why.metadata == {"rate_class": "default", "limit": "3", "period_seconds": "60", "scope": "api_key"}
    assert 0 < (why.retry_after or 0) <= 20
    assert (refusal.headers["x-ratelimit-limit"], refusal.headers["x-ratelimit-remaining"]) == ("3", "0")
    assert 1 <= int(refusal.headers["retry-after"]) <= 20
    # Neither other keys nor people share it, and a new secret has no new calls.
    assert use(tenant, make(tenant)).status_code == 200
    assert tenant.rest.get(f"{tenant.path}/pages").status_code == 200
    answers = [use(tenant, rotate(tenant, key)) for _ in range(2)]
    assert 429 in [answer.status_code for answer in answers]


# Granting ------------------------------------------------------------------------------------------------------------


def grant_refusal(response: httpx.Response) -> str:
    """The permission that a refusal to grant names."""
    assert reason(response) == (403, "GRANT_EXCEEDS_OWN")
    return problem(response).metadata["permission"]


def test_people_grant_what_they_have(tenant: Tenant) -> None:
    _, session = new_member(tenant, "admin")
    admin = Rest(tenant.stack, session.access_token)
    assert make(tenant, READ, "identity.api_keys.create", rest=admin)["key"]
    body = {"name": "n", "permissions": [READ, "tenancy.tenants.delete"]}
    assert grant_refusal(admin.post(path(tenant), body)) == "tenancy.tenants.delete"
    asked = CreateApiKeyRequest(tenant_id=tenant.id, api_key=ApiKey(name="n", permissions=["tenancy.tenants.delete"]))
    why = refused(lambda: stubs(tenant.stack, session.access_token).api_keys.CreateApiKey(asked))
    assert (why.code, why.reason) == (PERMISSION_DENIED, "GRANT_EXCEEDS_OWN")
    assert make(tenant, "tenancy.tenants.delete")["key"]


def test_who_may_not_make_keys_is_told_so_first(tenant: Tenant) -> None:
    _, session = new_member(tenant, "editor")
    editor = Rest(tenant.stack, session.access_token)
    response = editor.post(path(tenant), {"name": "n", "permissions": [READ]})
    assert reason(response) == (403, "PERMISSION_MISSING")
    assert reason(editor.get(path(tenant))) == (403, "PERMISSION_MISSING")


def test_a_key_grants_what_it_has(tenant: Tenant) -> None:
    maker = Rest(tenant.stack, make(tenant, READ, "identity.api_keys.create")["key"])
    made = make(tenant, READ, rest=maker)
    assert made["createUserId"] == ""
    assert use(tenant, made).status_code == 200
    assert grant_refusal(maker.post(path(tenant), {"name": "n", "permissions": [READ, CREATE]})) == CREATE


def test_who_has_less_than_a_key_does_not_rotate_it(tenant: Tenant) -> None:
    strong = make(tenant, READ, "tenancy.tenants.delete")
    _, session = new_member(tenant, "admin")
    admin = Rest(tenant.stack, session.access_token)
    assert grant_refusal(admin.post(path(tenant, strong, "rotate"), {})) == "tenancy.tenants.delete"
    weak = Rest(tenant.stack, make(tenant, "identity.api_keys.rotate")["key"])
    assert grant_refusal(weak.post(path(tenant, strong, "rotate"), {})) == READ
    assert works(tenant, strong)


def test_a_permission_that_is_no_more_keeps_nobody_from_rotating(tenant: Tenant) -> None:
    key = make(tenant)
    with database(tenant.stack) as connection:
        connection.execute("UPDATE api_keys SET permissions = permissions || '{a.b.gone}' WHERE id = %s", (key["id"],))
    assert works(tenant, rotate(tenant, key))


# Expiring ------------------------------------------------------------------------------------------------------------


def test_an_expired_key_is_refused(tenant: Tenant) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    key = make(tenant, expireTime=later)
    assert use(tenant, key).status_code == 200
    unused = make(tenant, expireTime=later)
    with database(tenant.stack) as connection:
        connection.execute("UPDATE api_keys SET expire_time = now() - interval '1 s' WHERE id = %s", (unused["id"],))
    assert reason(use(tenant, unused)) == (401, "API_KEY_ENDED")
    response = tenant.rest.post(path(tenant, unused, "rotate"), {})
    assert reason(response) == (409, "STATE_FORBIDS")
    assert problem(response).metadata["state"] == "EXPIRED"


def test_a_key_expires_while_it_is_used(tenant: Tenant) -> None:
    key = make(tenant, expireTime=(datetime.now(UTC) + timedelta(seconds=5)).isoformat())
    wait_for(lambda: not works(tenant, key))
    assert {ask_worker(tenant, name, key["key"]) for name in WORKERS} == {"API_KEY_ENDED"}


# Revoking ------------------------------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_at_the_next_call_by_every_worker(tenant: Tenant) -> None:
    for _ in range(5):
        key = make(tenant)
        for name in WORKERS * 2:
            assert ask_worker(tenant, name, key["key"]) == "OK"
        assert tenant.rest.delete(path(tenant, key)).status_code == 204
        assert [ask_worker(tenant, name, key["key"]) for name in WORKERS] == ["API_KEY_ENDED"] * 2


def test_a_revoked_key_that_no_worker_knew_is_refused(tenant: Tenant) -> None:
    key = make(tenant)
    assert tenant.rest.delete(path(tenant, key)).status_code == 204
    assert [ask_worker(tenant, name, key["key"]) for name in WORKERS] == ["API_KEY_ENDED"] * 2


def test_revoking_leaves_other_keys(tenant: Tenant) -> None:
    first, second = make(tenant), make(tenant)
    tenant.rest.delete(path(tenant, first))
    assert not works(tenant, first)
    assert works(tenant, second)


def test_a_revoked_key_opens_no_stream(tenant: Tenant) -> None:
    key, start = make(tenant), sse.position(tenant)
    writers.create(tenant, "first")
    pages = stubs(tenant.stack, key["key"]).pages
    request = WatchPagesRequest(tenant_id=tenant.id, last_event_id=start)
    events = pages.WatchPages(request, timeout=sse.PATIENCE)
    assert next(events).page.slug == "first"
    events.cancel()
    tenant.rest.delete(path(tenant, key))
    assert refused(lambda: next(pages.WatchPages(request, timeout=sse.PATIENCE))).reason == "API_KEY_ENDED"


def test_a_key_ends_with_its_tenant(tenant: Tenant) -> None:
    key = make(tenant)
    assert [ask_worker(tenant, name, key["key"]) for name in WORKERS] == ["OK"] * 2
    assert tenant.rest.delete(tenant.path).status_code == 204
    assert [ask_worker(tenant, name, key["key"]) for name in WORKERS] == ["RESOURCE_NOT_FOUND"] * 2


def test_a_revoked_key_is_kept_to_be_seen(tenant: Tenant) -> None:
    key = make(tenant)
    assert reason(tenant.rest.delete(path(tenant, key), headers={"if-match": 'W/"stale"'})) == (412, "ETAG_MISMATCH")
    stale = RevokeApiKeyRequest(tenant_id=tenant.id, api_key_id=key["id"], etag="stale")
    assert refused(lambda: tenant.stubs.api_keys.RevokeApiKey(stale)).reason == "ETAG_MISMATCH"
    assert works(tenant, key)
    assert tenant.rest.delete(path(tenant, key), headers={"if-match": key["etag"]}).status_code == 204
    after = tenant.rest.get(path(tenant, key)).json()
    assert after["revokeTime"] >= key["createTime"]
    assert after["etag"] != key["etag"]
    assert tenant.rest.get(path(tenant)).json()["apiKeys"] == [after]
    event = events_of(tenant.stack, tenant.id)[-1]
    assert (event.type, event.resource_id) == ("api_key.revoked", key["id"])
    assert event.payload.revoke_time.ToJsonString() == after["revokeTime"]


def test_what_is_revoked_is_over(tenant: Tenant) -> None:
    key = make(tenant)
    tenant.rest.delete(path(tenant, key))
    for response in (tenant.rest.delete(path(tenant, key)), tenant.rest.post(path(tenant, key, "rotate"), {})):
        assert reason(response) == (409, "STATE_FORBIDS")
        assert problem(response).metadata["state"] == "REVOKED"
    absent = {"id": ABSENT}
    for response in (tenant.rest.delete(path(tenant, absent)), tenant.rest.post(path(tenant, absent, "rotate"), {})):
        assert reason(response) == (404, "RESOURCE_NOT_FOUND")


# Rotating ------------------------------------------------------------------------------------------------------------


def test_with_an_overlap_both_secrets_work(tenant: Tenant) -> None:
    key = make(tenant)
    rotated = rotate(tenant, key, "3600s")
    assert FORMAT.fullmatch(rotated["key"])
    assert rotated["key"] != key["key"]
    until = datetime.fromisoformat(rotated["previousExpireTime"])
    assert abs(until - utc_now() - timedelta(hours=1)) < timedelta(minutes=5)
    assert (rotated["prefix"], rotated["previousPrefix"]) == (rotated["key"][:16], key["prefix"])
    for secret in (key["key"], rotated["key"]):
        assert [ask_worker(tenant, name, secret) for name in WORKERS] == ["OK"] * 2


@pytest.mark.parametrize("overlap", ["", "0s"])
def test_without_an_overlap_the_old_secret_ends_at_once(tenant: Tenant, overlap: str) -> None:
    key = make(tenant)
    assert [ask_worker(tenant, name, key["key"]) for name in WORKERS] == ["OK"] * 2
    rotated = rotate(tenant, key, overlap)
    assert rotated["previousPrefix"] == ""
    assert "previousExpireTime" not in rotated
    assert rows(tenant.stack, "SELECT previous_hash FROM api_keys WHERE id = %s", key["id"]) == [
        {"previous_hash": None}
    ]
    assert [ask_worker(tenant, name, rotated["key"]) for name in WORKERS] == ["OK"] * 2
    assert [ask_worker(tenant, name, key["key"]) for name in WORKERS] == ["API_KEY_ENDED"] * 2


def test_the_old_secret_ends_with_the_overlap(tenant: Tenant) -> None:
    key = make(tenant)
    rotated = rotate(tenant, key, "3s")
    # Both workers know it, or have just refused it.
    assert {ask_worker(tenant, name, key["key"]) for name in WORKERS} <= {"OK", "API_KEY_ENDED"}
    for name in WORKERS:
        wait_for(lambda name=name: ask_worker(tenant, name, key["key"]) == "API_KEY_ENDED")  # type: ignore[misc]
        assert ask_worker(tenant, name, rotated["key"]) == "OK"
    shown_now = tenant.rest.get(path(tenant, key)).json()
    assert (shown_now["previousPrefix"], shown_now["prefix"]) == ("", rotated["prefix"])
    assert "previousExpireTime" not in shown_now
    assert "previousExpireTime" in rotated


def test_of_two_rotations_the_last_two_secrets_remain(tenant: Tenant) -> None:
    first = make(tenant)
    second = rotate(tenant, first, "3600s")
    third = rotate(tenant, second, "3600s")
    assert third["previousPrefix"] == second["prefix"]
    assert [use(tenant, key).status_code for key in (first, second, third)] == [401, 200, 200]


def test_a_rotated_key_stays_what_it_is(tenant: Tenant) -> None:
    key = make(tenant, READ, CREATE, callsPerMinute=500, environment="ENVIRONMENT_TEST")
    rotated = rotate(tenant, key)
    changed = {"key", "prefix", "etag", "updateTime"}
    assert {name for name in key if key[name] != rotated[name]} == changed
    assert set(rotated) == set(key)
    assert rotated["key"].startswith("sn_test_")
    rest = Rest(tenant.stack, rotated["key"])
    assert rest.post(f"{tenant.path}/pages", {"slug": "by-key"}).status_code == 201
    event = events_of(tenant.stack, tenant.id)[-2]
    assert (event.type, event.resource_id, event.payload.prefix) == ("api_key.rotated", key["id"], rotated["prefix"])


def test_revoking_ends_both_secrets(tenant: Tenant) -> None:
    key = make(tenant)
    rotated = rotate(tenant, key, "3600s")
    assert works(tenant, key)
    assert works(tenant, rotated)
    tenant.rest.delete(path(tenant, key))
    for secret in (key["key"], rotated["key"]):
        assert [ask_worker(tenant, name, secret) for name in WORKERS] == ["API_KEY_ENDED"] * 2
    after = tenant.rest.get(path(tenant, key)).json()
    assert (after["previousPrefix"], "previousExpireTime" in after) == ("", False)


def test_a_key_rotates_itself(tenant: Tenant) -> None:
    key = make(tenant, READ, "identity.api_keys.rotate")
    rotated = _body(Rest(tenant.stack, key["key"]).post(path(tenant, key, "rotate"), {}), 200)
    assert not works(tenant, key)
    assert works(tenant, rotated)


@pytest.mark.parametrize("overlap", ["604801s", "-1s"])
def test_an_overlap_is_a_week_at_most(tenant: Tenant, overlap: str) -> None:
    key = make(tenant)
    assert reason(tenant.rest.post(path(tenant, key, "rotate"), {"overlap": overlap})) == (422, "RULE_VIOLATED")
    assert reason(tenant.rest.post(path(tenant, key, "rotate"), {}, headers={"if-match": 'W/"stale"'})) == (
        412,
        "ETAG_MISMATCH",
    )
    assert works(tenant, key)


# Listing -------------------------------------------------------------------------------------------------------------


def listed(tenant: Tenant, **query: Any) -> list[str]:
    """The names of the keys that a List finds."""
    return [key["name"] for key in _body(tenant.rest.get(path(tenant), query), 200)["apiKeys"]]


def test_keys_come_in_pages_newest_first(tenant: Tenant) -> None:
    for name in "acb":
        make(tenant, name=name)
    first = tenant.rest.get(path(tenant), {"pageSize": 2, "includeTotal": True}).json()
    second = tenant.rest.get(path(tenant), {"pageSize": 2, "pageToken": first["nextPageToken"]}).json()
    assert [key["name"] for key in first["apiKeys"] + second["apiKeys"]] == ["b", "c", "a"]
    assert (first["totalSize"], second.get("nextPageToken", "")) == (3, "")
    assert listed(tenant, orderBy="name") == ["a", "b", "c"]


def test_keys_are_found_by_what_became_of_them(tenant: Tenant) -> None:
    revoked, alive, test = make(tenant, name="r"), make(tenant, name="a"), make(tenant, name="t", environment=2)
    tenant.rest.delete(path(tenant, revoked))
    found = {
        "revoke_time:*": ["r"],
        "NOT revoke_time:*": ["t", "a"],
        "environment = ENVIRONMENT_TEST": ["t"],
        f'prefix = "{alive["prefix"]}"': ["a"],
        "last_use_time:*": [],
        "NOT expire_time:* AND name = t": ["t"],
    }
    assert {text: listed(tenant, filter=text) for text in found} == found
    assert test["environment"] == "ENVIRONMENT_TEST"
    for text in (f'secret_hash = "{revoked["key"]}"', f'key = "{revoked["key"]}"'):
        assert reason(tenant.rest.get(path(tenant), {"filter": text})) == (400, "FILTER_INVALID")


# The parts -----------------------------------------------------------------------------------------------------------


def test_keys_have_their_form_and_no_two_are_alike() -> None:
    keys = [new_key(environment) for environment in (ApiKey.ENVIRONMENT_LIVE, ApiKey.ENVIRONMENT_TEST) * 50]
    assert len(set(keys)) == 100
    assert all(re.fullmatch(r"sn_(live|test)_[A-Za-z0-9_-]{43}", key) for key in keys)
    assert [shown(key) for key in keys] == [key[:16] for key in keys]


@pytest.fixture(scope="module")
def runtime(stack: Stack) -> Iterator[Database]:
    """The stack's database as its workers see it."""
    with connections(stack.settings.runtime_dsn) as pool:
        yield Database(pool)


def test_what_looks_like_a_key_is_one(stack: Stack, runtime: Database) -> None:
    keys = ApiKeys(runtime, stack.settings.secrets)
    looks = {"sn_live_x": True, "sn_test_": True, "sn_other_x": False, "eyJhbGciOi.e30.x": False, "": False}
    assert {text: keys.is_key(text) for text in looks} == looks


def test_a_key_stands_for_its_tenant_and_itself(tenant: Tenant, runtime: Database) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    key = make(tenant, callsPerMinute=7, expireTime=expires.isoformat())
    keys = ApiKeys(runtime, tenant.stack.settings.secrets)
    caller = keys.verify(key["key"])
    assert (caller.tenant_id, caller.api_key_id, caller.id) == (tenant.id, key["id"], key["id"])
    assert (caller.user_id, caller.session_id, caller.roles, caller.is_platform) == ("", "", (), False)
    assert (caller.expires_at, caller.calls_per_minute) == (expires.timestamp(), 7)
    stored = rows(tenant.stack, "SELECT secret_hash FROM api_keys WHERE id = %s", key["id"])[0]["secret_hash"]
    assert caller.key_hash == stored == key_hash(tenant.stack.settings.secrets)(key["key"])
    assert key["key"] not in repr(vars(keys))


def test_a_key_expires_though_it_is_remembered(tenant: Tenant, runtime: Database) -> None:
    now = [utc_now()]
    key = make(tenant, expireTime=(now[0] + timedelta(hours=1)).isoformat())
    keys = ApiKeys(runtime, tenant.stack.settings.secrets, lambda: now[0])
    assert keys.verify(key["key"]).api_key_id == key["id"]
    now[0] += timedelta(hours=1)
    with pytest.raises(Unauthenticated) as refusal:
        keys.verify(key["key"])
    assert refusal.value.reason_name == "API_KEY_ENDED"


def test_so_many_wrong_secrets_are_remembered_and_no_more(runtime: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "REMEMBERED", 2)
    keys, looked_up = ApiKeys(runtime, Secrets(b"x" * 32)), []

    def read(*given: Any) -> Any:
        looked_up.append(given)
        return Database.read(runtime, *given)

    monkeypatch.setattr(runtime, "read", read)
    wrong = [new_key(ApiKey.ENVIRONMENT_LIVE) for _ in range(3)]
    for number, asked in ((0, 1), (1, 2), (0, 2), (1, 2), (2, 3), (2, 3), (0, 4)):
        with pytest.raises(Unauthenticated):
            keys.verify(wrong[number])
        assert len(looked_up) == asked


def test_keys_outlive_a_change_of_the_deployments_secret(tenant: Tenant, runtime: Database) -> None:
    key = make(tenant)
    rotated = rotate(tenant, key, "3600s")
    old, new = tenant.stack.settings.secret, b"another secret of the deployment"
    changed = ApiKeys(runtime, Secrets(new, behind=(old,)))
    for secret in (key["key"], rotated["key"]):
        assert changed.verify(secret).api_key_id == key["id"]
    assert key_hash(Secrets(new, behind=(old,)))(key["key"]) == key_hash(Secrets(new))(key["key"])
    without_old = ApiKeys(runtime, Secrets(new))
    # Its hash was renewed when it was used; what only works for an overlap is not worth it.
    assert without_old.verify(rotated["key"]).api_key_id == key["id"]
    with pytest.raises(Unauthenticated):
        without_old.verify(key["key"])


def test_a_wrong_secret_is_looked_up_once(stack: Stack, runtime: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ApiKeys(runtime, stack.settings.secrets)
    looked: list[str] = []
    rows_of = keys._rows  # noqa: SLF001 - what asks the database

    def look(secret: str) -> list[Row]:
        looked.append(secret)
        return rows_of(secret)

    monkeypatch.setattr(keys, "_rows", look)
    secret = new_key(ApiKey.ENVIRONMENT_LIVE)
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            keys.verify(secret)
    assert looked == [secret]
    assert secret not in repr(vars(keys))


def test_no_more_keys_are_remembered_than_have_room(
    tenant: Tenant, runtime: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.domains.identity.api_keys.REMEMBERED", 2)
    made = [make(tenant) for _ in range(3)]
    keys = ApiKeys(runtime, tenant.stack.settings.secrets)
    for key in made * 2:
        assert keys.verify(key["key"]).api_key_id == key["id"]
        assert len(vars(keys)["_known"]) <= 2
