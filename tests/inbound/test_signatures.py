"""Calls that a provider signs, at the public door: whose they are, and what becomes of those that nobody signed."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.clients import Rest, Tenant, new_tenant, problem, rows
from tests.inbound.conftest import BAD_SIGNATURES, HookStack
from tests.inbound.hooks import signature

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

# With what a second JSON encoder would write otherwise.
BODY = b'{"text": "\\ud83d\\ude00  \xf0\x9f\x98\x80", "a":1.0}'
ENTRY = "SELECT * FROM audit_entries WHERE tenant_id = %s AND action = 'hook.received'"
EVENT = "SELECT * FROM events WHERE tenant_id = %s AND type = 'hook.received'"


class Hook:
    """An address of one tenant, and the provider that knows it."""

    def __init__(self, stack: HookStack, tenant: Tenant) -> None:
        made = Rest(stack, tenant.access_token).post("hooks", {})
        assert made.status_code == 200, made.text
        self.id, self.route = made.json()["id"], made.json()["route"]
        self._rest = Rest(stack)

    def send(self, header: str, body: bytes = BODY, route: str = "") -> httpx.Response:
        headers = {"content-type": "application/json", "acme-signature": header}
        path = f"/api/v1/hooks/{route or self.route}?version=7&utm_source=x"
        return self._rest.request("POST", path, content=body, headers=headers)

    def send_signed(self, body: bytes = BODY) -> httpx.Response:
        return self.send(signature(self.id, body, int(time.time())), body)


@pytest.fixture
def tenant(hook_stack: HookStack) -> Tenant:
    return new_tenant(hook_stack)


@pytest.fixture
def hook(hook_stack: HookStack, tenant: Tenant) -> Hook:
    return Hook(hook_stack, tenant)


def test_a_signed_call_is_of_the_tenant_that_its_route_leads_to(
    hook_stack: HookStack, tenant: Tenant, hook: Hook
) -> None:
    answer = hook.send_signed()
    assert answer.status_code == 200, answer.text
    assert answer.json() | {"id": ""} == {"id": "", "tenantId": tenant.id, "version": "7", "size": len(BODY)}
    (event,) = rows(hook_stack, EVENT, tenant.id)
    (entry,) = rows(hook_stack, ENTRY, tenant.id)
    assert (event["resource_id"], event["actor_id"]) == (answer.json()["id"], None)
    assert (entry["actor_kind"], str(entry["actor_id"]), entry["outcome"]) == (4, hook.id, "OK")
    shown = tenant.rest.get(f"{tenant.path}/audit/entries/{entry['id']}").json()
    assert (shown["actorKind"], shown["actorId"]) == ("ACTOR_KIND_PROVIDER", hook.id)


def test_a_route_leads_to_one_tenant_only(hook_stack: HookStack, hook: Hook) -> None:
    other = Hook(hook_stack, new_tenant(hook_stack))
    crossed = hook.send(signature(other.id, BODY, int(time.time())))
    assert (crossed.status_code, problem(crossed).reason) == (401, "CREDENTIALS_INVALID")


def test_a_tenant_that_is_gone_gets_nothing(hook_stack: HookStack, tenant: Tenant, hook: Hook) -> None:
    rows(hook_stack, "UPDATE tenants SET status = 2 WHERE id = %s RETURNING id", tenant.id)
    assert hook.send_signed().status_code == 404
    assert rows(hook_stack, EVENT, tenant.id) == []


def test_good_ones_are_not_limited_by_address(hook: Hook) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: hook.send_signed().status_code, range(3 * BAD_SIGNATURES)))
    assert set(answers) == {200}


def test_bad_ones_are_and_keep_no_good_one_out(hook_stack: HookStack, tenant: Tenant, hook: Hook) -> None:
    now = int(time.time())
    bad = (
        lambda: hook.send("t=1,v1=00"),
        lambda: hook.send(""),
        lambda: hook.send(signature(hook.id, BODY + b" ", now)),
        lambda: hook.send(signature(hook.id, BODY, now - 400)),
        lambda: hook.send(signature(hook.id, BODY, now + 400)),
        lambda: hook.send(signature(hook.id, BODY, now), route="another"),
    )
    answers = [bad[number % len(bad)]() for number in range(BAD_SIGNATURES + len(bad))]
    codes = [answer.status_code for answer in answers]
    assert codes == sorted(codes)
    assert {401, 429} == set(codes)
    assert {problem(answer).reason for answer in answers} == {"CREDENTIALS_INVALID", "RATE_LIMITED"}
    assert int(answers[-1].headers["retry-after"]) > 0
    assert hook.send_signed().status_code == 200
    assert len(rows(hook_stack, EVENT, tenant.id)) == 1
