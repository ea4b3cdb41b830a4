"""Looking after the cache of answers: what it tells of itself, what is dropped from it, and what is put into it."""

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from plinth.operations.v1.cache_pb2 import (
    CacheStats,
    GetCacheStatsRequest,
    InvalidateCacheRequest,
    WarmCacheRequest,
    WarmCacheResponse,
)
from plinth.sites.v1.page_pb2 import GetPageRequest

from server.domains.operations.cache import LATEST, CacheService, CacheStatistics
from server.kernel.caching.cache import AnswerCache, StoreAway
from server.kernel.caching.generations import Generations
from server.kernel.clock import utc_now
from server.kernel.steps.cache_explaining import CacheExplainer
from tests.clients import Rest, Tenant, new_tenant, problem, reason, rows, stubs
from tests.domains.events import events_about
from tests.domains.platform import new_platform_admin
from tests.stack import Stack, wait_for

pytestmark = pytest.mark.heavy

ABSENT = "01890000-0000-7000-8000-000000000000"
# Enough for both workers to get some: the gateway chooses at random.
OFTEN = 30


@pytest.fixture(scope="module")
def cached() -> Iterator[Stack]:
    """A stack whose cache nobody else uses or drops, and which waits for Redis however busy the machine is."""
    stack = Stack(api_workers=2, redis_timeout=5)
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def token(cached: Stack) -> str:
    """The access token of a platform administrator."""
    return new_platform_admin(cached).access_token


@pytest.fixture
def admin(cached: Stack, token: str) -> Rest:
    return Rest(cached, token)


@pytest.fixture
def visited(cached: Stack) -> Tenant:
    """A tenant of this test alone."""
    return new_tenant(cached)


def names(tenant: Tenant) -> set[str]:
    """The names of a tenant that several reads show."""
    return {tenant.rest.get(tenant.path).json()["name"] for _ in range(OFTEN)}


def fonts(tenant: Tenant) -> set[str]:
    """The fonts of a tenant that several reads show."""
    return {tenant.rest.get(f"{tenant.path}/branding").json()["bodyFont"] for _ in range(OFTEN)}


def change_behind_the_cache(tenant: Tenant) -> None:
    """What no RPC does: the cache hears nothing of it."""
    rows(tenant.stack, "UPDATE tenants SET name = 'Changed' WHERE id = %s RETURNING id", tenant.id)
    rows(tenant.stack, "UPDATE brandings SET body_font = 'Changed' WHERE tenant_id = %s RETURNING id", tenant.id)


# On a stack ----------------------------------------------------------------------------------------------------------


def test_reads_are_counted_over_all_workers(cached: Stack, token: str, visited: Tenant) -> None:
    """No other test reads a page here."""
    page = visited.rest.post(f"{visited.path}/pages", {"slug": "read"}).json()["id"]
    request = GetPageRequest(tenant_id=visited.id, page_id=page)
    for _ in range(OFTEN):
        assert visited.rest.get(f"{visited.path}/pages/{page}").status_code == 200
        assert visited.stubs.pages.GetPage(request).id == page
    admin, told = stubs(cached, token).cache, CacheStats.Method()

    def are_told() -> bool:
        """Each worker knows its own counts at once, and those of the other one as it published them."""
        methods = {method.name: method for method in admin.GetCacheStats(GetCacheStatsRequest()).methods}
        told.CopyFrom(methods["plinth.sites.v1.PageService/GetPage"])
        return told.memory_hits + told.redis_hits + told.misses + told.coalesced == 2 * OFTEN

    wait_for(are_told, what="all reads in the statistics of either worker")
    # One worker computed, the other found it in Redis, and both remember it.
    assert (told.misses, told.redis_hits, told.memory_hits) == (1, 1, 2 * OFTEN - 2)


def test_the_statistics_add_up(admin: Rest, visited: Tenant) -> None:
    assert names(visited) == {"Acme"}
    wait_for(lambda: admin.get("admin/cache/stats").json().get("workers") == 2, what="both workers")
    stats = admin.get("admin/cache/stats").json()
    sums = {name: sum(method.get(name, 0) for method in stats["methods"]) for name in ("memoryHits", "redisHits")}
    misses = sum(method.get("misses", 0) for method in stats["methods"])
    every = sum(sums.values()) + misses + sum(method.get("coalesced", 0) for method in stats["methods"])
    assert stats["hitRate"] == pytest.approx((every - misses) / every)
    assert 0 < stats["hitRate"] < 1
    assert stats["entries"] >= 1
    assert stats["bytes"] > stats["entries"] * 100
    assert stats.get("evictions", 0) == 0
    assert len({method["name"] for method in stats["methods"]}) == len(stats["methods"])


def test_what_is_dropped_is_computed_anew_on_every_worker(admin: Rest, visited: Tenant) -> None:
    assert (names(visited), fonts(visited)) == ({"Acme"}, {"Inter"})
    change_behind_the_cache(visited)
    assert (names(visited), fonts(visited)) == ({"Acme"}, {"Inter"})
    tag = f"tenant:{visited.id}:branding"
    response = admin.post("admin/cache/invalidate", {"tags": [tag]})
    assert (response.status_code, response.json()) == (200, {"tags": [tag]})
    assert (names(visited), fonts(visited)) == ({"Acme"}, {"Changed"})
    response = admin.post("admin/cache/invalidate", {"everything": True})
    assert (response.status_code, response.json()) == (200, {"tags": ["*"]})
    assert (names(visited), fonts(visited)) == ({"Changed"}, {"Changed"})


def test_what_was_warmed_is_found_by_the_first_visitor(admin: Rest, visited: Tenant) -> None:
    response = admin.post("admin/cache/warm", {"tenantId": visited.id})
    assert response.status_code == 200
    warmed = {"plinth.tenancy.v1.TenantService/GetTenant", "plinth.tenancy.v1.BrandingService/GetBranding"}
    assert set(response.json()["methods"]) >= warmed
    change_behind_the_cache(visited)
    assert (names(visited), fonts(visited)) == ({"Acme"}, {"Inter"})


def test_warming_and_dropping_over_grpc(cached: Stack, token: str, visited: Tenant) -> None:
    admin = stubs(cached, token).cache
    warmed = admin.WarmCache(WarmCacheRequest(tenant_id=visited.id))
    assert "plinth.tenancy.v1.TenantService/GetTenant" in warmed.methods
    change_behind_the_cache(visited)
    assert list(admin.InvalidateCache(InvalidateCacheRequest(everything=True)).tags) == ["*"]
    assert names(visited) == {"Changed"}


def test_only_a_tenant_that_is_there_is_warmed(admin: Rest, visited: Tenant) -> None:
    response = admin.post("admin/cache/warm", {"tenantId": ABSENT})
    assert reason(response) == (404, "RESOURCE_NOT_FOUND")
    assert problem(response).resource_type == "plinth.dev/Tenant"
    assert visited.rest.delete(visited.path).status_code == 204
    assert admin.post("admin/cache/warm", {"tenantId": visited.id}).status_code == 404
    assert set(problem(admin.post("admin/cache/warm", {"tenantId": "x"})).violations) == {"tenantId"}


@pytest.mark.parametrize(
    "body", [{}, {"tags": ["a"], "everything": True}, {"tags": [""]}, {"tags": ["a"] * 1001}, {"tags": ["a" * 301]}]
)
def test_what_to_drop_is_said_in_one_way(admin: Rest, body: dict[str, Any]) -> None:
    assert reason(admin.post("admin/cache/invalidate", body)) == (422, "RULE_VIOLATED")


def test_dropping_and_warming_leave_their_events(cached: Stack, admin: Rest, visited: Tenant) -> None:
    def warmed() -> int:
        return len(rows(cached, "SELECT FROM events WHERE type = 'cache.warmed'"))

    before = warmed()
    tag = f"tenant:{visited.id}:pages"
    admin.post("admin/cache/invalidate", {"tags": [tag]})
    admin.post("admin/cache/warm", {"tenantId": visited.id})
    admin.post("admin/cache/warm", {"tenantId": ABSENT})
    assert [(event.type, list(event.payload.tags)) for event in events_about(cached, tag)] == [
        ("cache.invalidated", [tag])
    ]
    assert warmed() == before + 1


def test_only_platform_administrators_look_after_the_cache(cached: Stack, visited: Tenant) -> None:
    for rest, expected in ((Rest(cached), (401, "CREDENTIALS_MISSING")), (visited.rest, (403, "PERMISSION_MISSING"))):
        calls = [
            rest.get("admin/cache/stats"),
            rest.post("admin/cache/invalidate", {"everything": True}),
            rest.post("admin/cache/warm", {"tenantId": visited.id}),
        ]
        assert [reason(response) for response in calls] == [expected] * 3


# Statistics of several processes -------------------------------------------------------------------------------------


class Told:
    """Redis as the statistics see it."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.is_away = False

    def publish(self, name: str, text: str) -> None:
        self._answer()
        self.texts[name] = text

    def read(self) -> dict[str, str]:
        self._answer()
        return dict(self.texts)

    def forget(self, names: Collection[str]) -> None:
        self._answer()
        for name in names:
            self.texts.pop(name, None)

    def _answer(self) -> None:
        if self.is_away:
            raise StoreAway


Start = Callable[[str, int], CacheStatistics]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    return Generations(tmp_path / "generations")


@pytest.fixture
def start(told: Told, generations: Generations) -> Iterator[Start]:
    """Starts the statistics of a process in which so many reads were computed."""
    started: list[CacheStatistics] = []

    def make(name: str, misses: int) -> CacheStatistics:
        cache = AnswerCache(generations, None, 1_000_000, lambda: name)
        cache.counts_of("/plinth.sites.v1.PageService/GetPage").misses = misses
        started.append(CacheStatistics(told, cache, lambda: name))
        started[-1].start()
        wait_for(lambda: name in told.texts or told.is_away, what="the first publication")
        return started[-1]

    yield make
    for one in started:
        one.close()


EXPLAINER = CacheExplainer(None, 0.0, {}, utc_now)


def stats(statistics: CacheStatistics, generations: Generations) -> CacheStats:
    """What the service makes of it."""
    service = CacheService(statistics, generations, lambda _call, _tenant: [], {}, EXPLAINER)
    call: Any = None
    return service.get_cache_stats(call, GetCacheStatsRequest())


def misses(statistics: CacheStatistics) -> list[int]:
    """Of each process that is counted, how many reads were computed."""
    return sorted(counts["methods"]["plinth.sites.v1.PageService/GetPage"][2] for counts in statistics.gather())


def test_every_process_is_counted_once(start: Start, generations: Generations) -> None:
    one, other = start("one", 3), start("other", 4)
    assert misses(one) == misses(other) == [3, 4]
    assert (stats(one, generations).workers, stats(one, generations).methods[0].misses) == (2, 7)
    assert stats(one, generations).hit_rate == 0


def test_ones_own_counts_are_those_of_this_moment(start: Start, told: Told, generations: Generations) -> None:
    one = start("one", 3)
    start("other", 4)
    published = told.texts["one"]
    cache = AnswerCache(generations, None, 1_000_000, lambda: "one")
    cache.counts_of("/plinth.sites.v1.PageService/GetPage").misses = 5
    assert misses(CacheStatistics(told, cache, lambda: "one")) == [4, 5]
    assert told.texts["one"] == published
    assert misses(one) == [3, 4]


def test_a_process_that_has_been_silent_for_a_minute_is_counted_no_more(start: Start, told: Told) -> None:
    one, other = start("one", 3), start("other", 4)
    last = json.loads(told.texts["other"])
    other.close()
    told.publish("killed", json.dumps(last | {"time": last["time"] - LATEST - 1}))
    told.publish("slow", json.dumps(last | {"time": last["time"] - LATEST / 2}))
    assert misses(one) == [3, 4]
    assert set(told.texts) == {"one", "slow"}


def test_a_process_that_ends_is_counted_no_more(start: Start, told: Told) -> None:
    one, other = start("one", 3), start("other", 4)
    other.close()
    assert set(told.texts) == {"one"}
    assert misses(one) == [3]


def test_while_the_store_is_away_each_process_knows_itself(start: Start, told: Told) -> None:
    one = start("one", 3)
    start("other", 4)
    told.is_away = True
    assert misses(one) == [3]
    told.is_away = False
    assert misses(one) == [3, 4]


def test_without_a_cache_everything_is_zero(start: Start, told: Told, generations: Generations) -> None:
    start("other", 4)
    # Switched off, or a process such as realtime that serves nothing which is cached.
    for cache in (None, AnswerCache(generations, None, 1_000_000, lambda: "idle")):
        idle = CacheStatistics(told, cache, lambda: "idle")
        idle.start()
        assert stats(idle, generations) == CacheStats()
        idle.close()
    assert set(told.texts) == {"other"}


def test_warming_names_what_was_read(told: Told, generations: Generations) -> None:
    asked: list[str] = []

    def warm(_: Any, tenant_id: str) -> list[str]:
        asked.append(tenant_id)
        return ["a.B/C"]

    service = CacheService(CacheStatistics(told, None, lambda: "one"), generations, warm, {}, EXPLAINER)
    call: Any = None
    assert service.warm_cache(call, WarmCacheRequest(tenant_id=ABSENT)) == WarmCacheResponse(methods=["a.B/C"])
    assert asked == [ABSENT]
