"""Many who miss the same answer at once: one of them computes it, whichever workers they meet."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import httpx
import pytest
from plinth.operations.v1.cache_pb2 import CacheStats, GetCacheStatsRequest
from plinth.tenancy.v1.branding_pb2 import GetBrandingRequest
from plinth.tenancy.v1.branding_pb2_grpc import BrandingServiceStub

from tests.clients import TIMEOUT, Stubs, Tenant, stubs
from tests.domains.platform import new_platform_admin
from tests.guard.locks import held
from tests.stack import Stack

pytestmark = pytest.mark.heavy

READS = 200
# Over each of which the gateway takes 100 calls at once.
CONNECTIONS = 4
# A method that no other test of this folder's stack reads.
METHOD = "plinth.tenancy.v1.BrandingService/GetBranding"
BRANDINGS = "LOCK TABLE brandings IN ACCESS EXCLUSIVE MODE"


def counted(admin: Stubs) -> CacheStats.Method:
    """What has happened to the reads of the method in both workers."""
    methods = admin.cache.GetCacheStats(GetCacheStatsRequest()).methods
    return next((method for method in methods if method.name == METHOD), CacheStats.Method())


def reads(method: CacheStats.Method) -> int:
    """How many reads have been counted."""
    return int(method.memory_hits + method.redis_hits + method.misses + method.coalesced)


def in_flight(stack: Stack) -> int:
    """How many calls the gateway has passed to the workers and waits for."""
    transport = httpx.HTTPTransport(uds=str(stack.settings.socket("envoy-admin")))
    with httpx.Client(transport=transport, base_url="http://admin", timeout=TIMEOUT) as client:
        name = "cluster.api.upstream_rq_active"
        return int(client.get("/stats", params={"filter": f"^{name}$"}).text.partition(":")[2])


@contextmanager
def branding_stubs(tenant: Tenant) -> Iterator[list[Any]]:
    """Stubs on connections of their own."""
    stub: Any = BrandingServiceStub
    with ExitStack() as opened:
        channels = [
            opened.enter_context(
                grpc.insecure_channel(tenant.stack.target, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(CONNECTIONS)
        ]
        yield [stub(channel) for channel in channels]


def test_two_hundred_misses_are_one_query(guarded: Stack, guarded_tenant: Tenant) -> None:
    admin = stubs(guarded, new_platform_admin(guarded).access_token)
    request = GetBrandingRequest(tenant_id=guarded_tenant.id)
    as_owner = {"metadata": [("authorization", f"Bearer {guarded_tenant.access_token}")], "timeout": TIMEOUT}
    before = counted(admin)
    with branding_stubs(guarded_tenant) as branding, held(guarded, BRANDINGS) as lock:
        calls = [branding[number % CONNECTIONS].GetBranding.future(request, **as_owner) for number in range(READS)]
        guarded.wait_for(lambda: in_flight(guarded) >= READS)
        # Each miss is one statement, and none has been answered.
        assert len(lock.wait_for(1)) == 1
        assert not any(call.done() for call in calls)
        lock.release()
        answers = {call.result().SerializeToString() for call in calls}
    assert len(answers) == 1
    told: list[CacheStats.Method] = []

    def all_are_told() -> bool:
        # Who answers knows of the other worker what that one published last.
        told[:] = [counted(admin)]
        return reads(told[0]) - reads(before) == READS

    # The workers publish what they have counted every 5 seconds.
    guarded.wait_for(all_are_told)
    assert told[0].misses - before.misses == 1
