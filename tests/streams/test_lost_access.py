"""Every way to lose access ends a stream, whatever kind of credential opened it and through whichever door."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from plinth.sites.v1 import page_pb2

from tests.clients import (
    Account,
    Rest,
    Session,
    Tenant,
    database,
    new_member,
    new_tenant,
    rpc_problem,
    stubs,
    switch_tenant,
    unique,
)
from tests.domains.platform import new_platform_admin
from tests.limits.people import address
from tests.stack import Stack
from tests.streams import sse
from tests.streams.test_endings import last_words

pytestmark = pytest.mark.heavy

End = Callable[[], tuple[int, str]]
"""Code and reason that a stream ends with; waits for its end."""
SESSION_ENDED = (16, "SESSION_ENDED")
KEY_ENDED = (16, "API_KEY_ENDED")
NOT_ALLOWED = (7, "PERMISSION_MISSING")
NOT_FOUND = (5, "RESOURCE_NOT_FOUND")
BLOCKED = (7, "ADDRESS_BLOCKED")
READ = "sites.pages.read"


@pytest.fixture(scope="module")
def quick() -> Iterator[Stack]:
    """A stack of the module's own, behind a proxy, which looks at its subscribers often."""
    stack = Stack(api_workers=1, stream_keepalive=1, trusted_proxies=1, log_level="ERROR")
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def founder(quick: Stack) -> Tenant:
    return new_tenant(quick)


@pytest.fixture(scope="module")
def admin(quick: Stack) -> Session:
    return new_platform_admin(quick)


@pytest.fixture
def tenant(quick: Stack, founder: Tenant) -> Tenant:
    """A tenant of this test alone."""
    return new_tenant(quick, founder.owner)


@dataclass(frozen=True)
class Member:
    """Somebody who may read pages by a role of their own."""

    account: Account
    session: Session
    role_id: str


@pytest.fixture
def member(tenant: Tenant) -> Member:
    made = tenant.rest.post("rbac/roles", {"name": unique("reader"), "permissions": [READ]})
    assert made.status_code == 201, made.text
    account, session = new_member(tenant, made.json()["name"])
    return Member(account, session, made.json()["id"])


def new_key(tenant: Tenant, **facts: Any) -> dict[str, Any]:
    """An API key that may read pages."""
    answer = tenant.rest.post(f"{tenant.path}/api-keys", {"name": unique("key"), "permissions": [READ], **facts})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def _end_of_rpc(events: Any) -> tuple[int, str]:
    with pytest.raises(grpc.RpcError) as raised:
        list(events)
    told = rpc_problem(raised.value)
    return told.code, told.reason


@contextmanager
def everywhere(tenant: Tenant, secret: str, where: str = "198.19.0.1") -> Iterator[dict[str, End]]:
    """Streams by every door that takes a credential, all open."""
    stack, headers = tenant.stack, {"x-forwarded-for": where}
    ways: dict[str, dict[str, Any]] = {
        "bearer": {"token": secret, "headers": headers},
        "query": {"token": None, "headers": headers, "params": {"access_token": secret}},
    }
    if secret.startswith("sn_"):
        ways["x-api-key"] = {"token": None, "headers": headers | {"x-api-key": secret}}
    with ExitStack() as opened:
        ends: dict[str, End] = {}
        for name, options in ways.items():
            reader = opened.enter_context(sse.connect(stack, tenant.id, options.pop("token"), **options))
            assert reader.response.status_code == 200, reader.response.read()
            assert reader.next().event == "stream.open"
            ends[name] = partial(last_words, reader)
        request = page_pb2.WatchPagesRequest(tenant_id=tenant.id)
        service = stubs(stack, secret, x_forwarded_for=where)
        events = service.pages.WatchPages(request, timeout=sse.PATIENCE)
        opened.callback(events.cancel)
        events.initial_metadata()
        ends["grpc"] = partial(_end_of_rpc, events)
        yield ends


def all_end(ends: dict[str, End], expected: tuple[int, str]) -> None:
    """Every stream ends like this."""
    assert {name: end() for name, end in ends.items()} == dict.fromkeys(ends, expected)


def sql(stack: Stack, statement: str, *values: Any) -> None:
    """What no RPC does, but an operator may."""
    with database(stack) as connection:
        assert connection.execute(statement.encode(), values).rowcount == 1


# Users ---------------------------------------------------------------------------------------------------------------


def log_out(member: Member, tenant: Tenant) -> None:
    assert Rest(tenant.stack, member.session.access_token).post("auth/logout").status_code == 204


def reuse_a_refresh_token(member: Member, tenant: Tenant) -> None:
    token = first = member.session.refresh_token
    for _ in range(2):
        token = Session.of(Rest(tenant.stack).post("auth/refresh", {"refreshToken": token})).refresh_token
    assert Rest(tenant.stack).post("auth/refresh", {"refreshToken": first}).status_code == 401


def remove_the_role(member: Member, tenant: Tenant) -> None:
    # Somebody always has a role: they get another one first, which does not permit as much.
    other = tenant.rest.post("rbac/roles", {"name": unique("less"), "permissions": ["tenancy.branding.read"]}).json()
    given = tenant.rest.post(f"users/{member.account.id}/roles", {"role": other["name"]})
    assert given.status_code == 200, given.text
    assert tenant.rest.delete(f"users/{member.account.id}/roles/{member.role_id}").status_code == 204


def reduce_the_role(member: Member, tenant: Tenant) -> None:
    changed = tenant.rest.patch(f"rbac/roles/{member.role_id}", {"permissions": ["tenancy.branding.read"]})
    assert changed.status_code == 200, changed.text


def remove_the_membership(member: Member, tenant: Tenant) -> None:
    sql(
        tenant.stack,
        "DELETE FROM memberships WHERE tenant_id = %s AND user_id = %s",
        tenant.id,
        member.account.id,
    )


@pytest.mark.parametrize(
    ("lose", "expected"),
    [
        (log_out, SESSION_ENDED),
        (reuse_a_refresh_token, SESSION_ENDED),
        (remove_the_role, NOT_ALLOWED),
        (reduce_the_role, NOT_ALLOWED),
        (remove_the_membership, NOT_FOUND),
    ],
)
def test_a_user_loses_a_stream_with(
    tenant: Tenant, member: Member, lose: Callable[[Member, Tenant], None], expected: tuple[int, str]
) -> None:
    with everywhere(tenant, member.session.access_token) as ends:
        lose(member, tenant)
        all_end(ends, expected)


def test_who_administers_the_platform_no_longer_loses_a_stream(quick: Stack, tenant: Tenant) -> None:
    session = new_platform_admin(quick)
    user_id = Rest(quick, session.access_token).get("auth/me").json()["user"]["id"]
    with everywhere(tenant, session.access_token) as ends:
        sql(quick, "UPDATE users SET is_platform = false WHERE id = %s", user_id)
        all_end(ends, NOT_FOUND)


# API keys ------------------------------------------------------------------------------------------------------------


def revoke(tenant: Tenant, key: dict[str, Any]) -> None:
    assert tenant.rest.delete(f"{tenant.path}/api-keys/{key['id']}").status_code == 204


def rotate(tenant: Tenant, key: dict[str, Any], **facts: str) -> None:
    assert tenant.rest.post(f"{tenant.path}/api-keys/{key['id']}/rotate", facts).status_code == 200


def rotate_with_overlap(tenant: Tenant, key: dict[str, Any]) -> None:
    rotate(tenant, key, overlap="2s")


def expire_early(tenant: Tenant, key: dict[str, Any]) -> None:
    sql(tenant.stack, "UPDATE api_keys SET expire_time = now() WHERE id = %s", key["id"])


def reduce_permissions(tenant: Tenant, key: dict[str, Any]) -> None:
    sql(tenant.stack, "UPDATE api_keys SET permissions = '{tenancy.branding.read}' WHERE id = %s", key["id"])


@pytest.mark.parametrize(
    ("lose", "expected"),
    [
        (revoke, KEY_ENDED),
        (rotate, KEY_ENDED),
        (rotate_with_overlap, KEY_ENDED),
        (expire_early, KEY_ENDED),
        (reduce_permissions, NOT_ALLOWED),
    ],
)
def test_a_key_loses_a_stream_with(
    tenant: Tenant, lose: Callable[[Tenant, dict[str, Any]], None], expected: tuple[int, str]
) -> None:
    key = new_key(tenant)
    with everywhere(tenant, key["key"]) as ends:
        lose(tenant, key)
        all_end(ends, expected)


def test_a_key_that_expires_loses_its_streams(tenant: Tenant) -> None:
    key = new_key(tenant, expireTime=(datetime.now(UTC) + timedelta(seconds=20)).isoformat())
    with everywhere(tenant, key["key"]) as ends:
        for end in ends.values():
            assert end()[0] == 16


# All of them ---------------------------------------------------------------------------------------------------------


def delete_the_tenant(tenant: Tenant, admin: Session, where: str) -> None:
    del admin, where
    assert tenant.rest.delete(tenant.path).status_code == 204


def suspend_the_tenant(tenant: Tenant, admin: Session, where: str) -> None:
    del admin, where
    sql(tenant.stack, "UPDATE tenants SET status = 2 WHERE id = %s", tenant.id)


def block_the_address(tenant: Tenant, admin: Session, where: str) -> None:
    answer = Rest(tenant.stack, admin.access_token).post("admin/ip-blocks", {"network": where})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("kind", ["user", "api key", "platform administrator"])
@pytest.mark.parametrize(
    ("lose", "expected"),
    [(delete_the_tenant, NOT_FOUND), (suspend_the_tenant, NOT_FOUND), (block_the_address, BLOCKED)],
)
def test_anybody_loses_a_stream_with(
    tenant: Tenant,
    member: Member,
    admin: Session,
    *,
    kind: str,
    lose: Callable[[Tenant, Session, str], None],
    expected: tuple[int, str],
) -> None:
    secret = {
        "user": member.session.access_token,
        "api key": new_key(tenant)["key"],
        "platform administrator": admin.access_token,
    }[kind]
    where = address()
    with everywhere(tenant, secret, where) as ends:
        lose(tenant, admin, where)
        all_end(ends, expected)


def test_a_key_opens_no_stream_in_a_tenant_that_is_suspended(tenant: Tenant) -> None:
    key = new_key(tenant)
    sql(tenant.stack, "UPDATE tenants SET status = 2 WHERE id = %s", tenant.id)
    with sse.connect(tenant.stack, tenant.id, key["key"]) as reader:
        assert reader.response.status_code == 404


def test_who_keeps_their_access_keeps_their_streams(tenant: Tenant, member: Member) -> None:
    """What happens to others, and another tenant of one's own, ends nothing."""
    other, _ = new_member(tenant, "viewer")
    key = new_key(tenant)
    with sse.listening(tenant, member.session.access_token) as user, sse.listening(tenant, key["key"]) as program:
        sql(tenant.stack, "DELETE FROM memberships WHERE user_id = %s", other.id)
        assert tenant.rest.post(f"{tenant.path}/pages", {"slug": "one", "title": "One"}).status_code == 201
        switch_tenant(tenant.stack, tenant.session, tenant.id)
        rotate(tenant, new_key(tenant))
        for reader in (user, program):
            assert [frame.event for frame in reader.events(1)] == ["page.created"]
            assert [reader.next().is_comment for _ in range(3)] == [True] * 3
