"""Hosts whose clocks are wrong: what is stored is judged alike by all of them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from typing import Any

import grpc
import pytest
from plinth.identity.v1 import api_key_pb2, auth_pb2
from plinth.operations.v1 import health_pb2, ip_block_pb2
from plinth.sites.v1 import page_pb2
from plinth.webhooks.v1 import webhook_pb2

from server.kernel.clock import utc_now
from tests.clients import Tenant, new_tenant, rows, rpc_problem, stubs, unique
from tests.domains.platform import new_platform_admin
from tests.drill.hosts import Host
from tests.faults.receiver import Receiver
from tests.guard.workers import Worker
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

MESSAGES = 40
MINUTE, HOUR = 60, 3600
# Seconds that a receiver takes for an answer: leases last while others look for work.
THINKING = 1.0
ADDRESSES = count(1)


class SlowReceiver(Receiver):
    """Takes its time, and then takes everything."""

    def _take(self, event_id: str, body: bytes) -> None:
        threading.Event().wait(THINKING)
        super()._take(event_id, body)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of the module's own, whose host has the right time."""
    stack = Stack(api_workers=1, background_workers=1, log_level="WARNING")
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture(params=[MINUTE, -MINUTE, HOUR, -HOUR], ids=lambda seconds: f"{seconds:+d}s")
def ahead(request: pytest.FixtureRequest) -> int:
    """Seconds by which the other host's clock is ahead."""
    return int(request.param)


@pytest.fixture
def host(stack: Stack, ahead: int) -> Iterator[Host]:
    """The other host, which serves calls."""
    host = Host(stack, ahead)
    try:
        with host.running("serve", "--workers", "1"):
            grpc.channel_ready_future(grpc.insecure_channel(host.target)).result(60)
            yield host
    finally:
        host.remove()


def test_webhooks_are_delivered_once_though_workers_have_other_clocks(stack: Stack) -> None:
    tenant, others = new_tenant(stack), list[Host]()
    with SlowReceiver() as receiver, ExitStack() as hosts:
        for seconds in (MINUTE, -MINUTE, HOUR, -HOUR):
            host = Host(stack, seconds)
            hosts.callback(host.remove)
            hosts.enter_context(host.running("worker", "--index", "7"))
            others.append(host)
        stack.wait_for(lambda: all(host.has_said("the host's clock is") for host in others))
        hook = tenant.rest.post(f"{tenant.path}/webhooks", {"url": receiver.url, "eventTypes": ["page.created"]})
        assert hook.status_code == 201, hook.text
        for number in range(MESSAGES):
            assert tenant.rest.post(f"{tenant.path}/pages", {"slug": f"p-{number}"}).status_code == 201
        # The last deliveries are written: nothing waits, and nothing is under way.
        waiting = "SELECT 1 FROM webhook_queues WHERE tenant_id = %s"
        stack.wait_for(lambda: len(receiver.received) == MESSAGES and not rows(stack, waiting, tenant.id))
    assert set(receiver.received.values()) == {1}, receiver.received
    assert sum(receiver.received.values()) == MESSAGES


def test_sessions_are_judged_alike(stack: Stack, host: Host) -> None:
    tenant = new_tenant(stack)
    there, here = stubs(host), stubs(stack)
    login = auth_pb2.LogInRequest(email=tenant.owner.email, password=tenant.owner.password)
    for maker, other in ((there, here), (here, there)):
        session = maker.auth.LogIn(login)
        for place in (host, stack):
            stubs(place, session.access_token).auth.GetCurrentUser(auth_pb2.GetCurrentUserRequest())
        # In turn: the successor that one host gives is one that the other takes.
        again = other.auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token=session.refresh_token))
        maker.auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token=again.refresh_token))


def code_of(call: Callable[[], object]) -> str:
    """The reason why a call was refused, or OK."""
    try:
        call()
    except grpc.RpcError as error:
        return rpc_problem(error).reason
    return "OK"


def key_until(tenant: Tenant, seconds: float) -> api_key_pb2.ApiKey:
    """A key that is good for so many seconds."""
    key = api_key_pb2.ApiKey(name="K", permissions=["sites.pages.read"])
    key.expire_time.FromDatetime(utc_now() + timedelta(seconds=seconds))
    made: api_key_pb2.ApiKey = tenant.stubs.api_keys.CreateApiKey(
        api_key_pb2.CreateApiKeyRequest(tenant_id=tenant.id, api_key=key)
    )
    return made


def works(stack: Stack, tenant: Tenant, key: str) -> bool:
    """Whether a key may be used there."""
    pages = stubs(stack, key).pages
    return code_of(lambda: pages.ListPages(page_pb2.ListPagesRequest(tenant_id=tenant.id))) == "OK"


def test_keys_expire_at_one_moment(stack: Stack, host: Host) -> None:
    tenant = new_tenant(stack)
    for maker in (tenant, host.at(tenant)):
        # One that a clock which is an hour ahead would hold for over, and one that is over for a clock behind.
        lasting, short = key_until(maker, HOUR / 2), key_until(maker, 2)
        places: tuple[Stack, ...] = (stack, host)
        assert all(works(place, tenant, lasting.key) for place in places)
        stack.wait_for(lambda short=short: not works(stack, tenant, short.key))  # type: ignore[misc]
        stack.wait_for(lambda short=short: not works(host, tenant, short.key), 10)  # type: ignore[misc]


def test_a_replay_is_one_wherever_it_comes_to(stack: Stack, host: Host) -> None:
    tenant = new_tenant(stack)
    for first, second in ((stack, host), (host, stack)):
        slug, key = unique("page"), unique("key")
        request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug=slug))
        answers: list[Any] = [
            stubs(place, tenant.access_token, idempotency_key=key).pages.CreatePage(request)
            for place in (first, second)
        ]
        assert answers[0] == answers[1]


def test_what_is_written_bears_the_time_of_the_database(stack: Stack, host: Host) -> None:
    tenant = host.at(new_tenant(stack))
    tenant.stubs.pages.CreatePage(
        page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug=unique("page")))
    )
    (page,) = rows(
        stack,
        "SELECT abs(extract(epoch FROM now() - audit.create_time)) < 30 AS audited,"
        " abs(extract(epoch FROM now()) * 1000 - ('x' || left(replace(audit.id::text, '-', ''), 12))::bit(48)::bigint)"
        " < 30000 AS numbered"
        " FROM audit_entries AS audit WHERE tenant_id = %s AND action = 'page.created'",
        tenant.id,
    )
    assert page == {"audited": True, "numbered": True}


def test_a_clock_that_is_off_is_told_of(host: Host, ahead: int) -> None:
    words = f"the host's clock is {abs(ahead)}.0 s {'ahead of' if ahead > 0 else 'behind'} PostgreSQL's"
    host.wait_for(lambda: host.has_said(words))
    health = stubs(host).health.GetHealth(health_pb2.GetHealthRequest())
    assert health.status == health_pb2.Health.STATUS_DEGRADED
    (check,) = [check for check in health.checks if check.name == "clock"]
    assert check.message == words
    assert abs((utc_now() - health.time.ToDatetime(utc_now().tzinfo)).total_seconds()) < 30


def is_blocked(stack: Stack, address: str) -> bool:
    """Whether calls from an address are refused there."""
    webhooks = stubs(stack, x_envoy_external_address=address).webhooks
    return code_of(lambda: webhooks.ListEventTypes(webhook_pb2.ListEventTypesRequest())) == "ADDRESS_BLOCKED"


def block_until(admin: Any, address: str, seconds: float) -> None:
    block = ip_block_pb2.IpBlock(network=address, reason="drill")
    block.expire_time.FromDatetime(utc_now() + timedelta(seconds=seconds))
    admin.CreateIpBlock(ip_block_pb2.CreateIpBlockRequest(ip_block=block))


def test_blocks_end_at_one_moment(stack: Stack, host: Host) -> None:
    token = new_platform_admin(stack).access_token
    here = Worker(stack, "api-0")
    for place in (here, host):
        lasting, short = (f"198.51.100.{next(ADDRESSES)}" for _ in range(2))
        admin = stubs(place, token).ip_blocks
        block_until(admin, lasting, HOUR / 2)
        block_until(admin, short, 3)
        stack.wait_for(lambda lasting=lasting: is_blocked(here, lasting) and is_blocked(host, lasting))  # type: ignore[misc]
        stack.wait_for(lambda short=short: not is_blocked(here, short))  # type: ignore[misc]
        stack.wait_for(lambda short=short: not is_blocked(host, short), 10)  # type: ignore[misc]
        assert is_blocked(host, lasting)
