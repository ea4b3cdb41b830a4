"""Why an answer is, or is not, served from the cache: each answer turns round when what it says is done."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from plinth.sites.v1.page_pb2 import GetPageRequest
from plinth.types.v1.explanation_pb2 import Explanation

from server.kernel.caching.cache import AnswerCache, Read
from server.kernel.caching.generations import Generations, GenerationsAway
from server.kernel.clock import utc_now
from server.kernel.steps.cache import CachedMethod
from server.kernel.steps.cache_explaining import CacheExplainer
from tests.clients import Rest, Tenant, new_tenant, problem, reason
from tests.domains.explanations import explained, steps
from tests.domains.platform import new_platform_admin
from tests.kernel.calls import GET
from tests.stack import Stack, wait_for

EXPLAIN = "admin/cache/explain"
BRANDING = "plinth.tenancy.v1.BrandingService/GetBranding"
LIST = "plinth.sites.v1.PageService/ListPages"
CREATE = "plinth.sites.v1.PageService/CreatePage"
UP_TO_MEMORY = [
    ("deployment", "SWITCHED_ON"),
    ("policy", "DECLARED"),
    ("request", "NO_SEARCH"),
    ("caller", "SHARED"),
    ("writes", "NONE_UNDER_WAY"),
]


@pytest.fixture(scope="module")
def administrator(stack: Stack) -> Rest:
    return Rest(stack, new_platform_admin(stack).access_token)


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def why(administrator: Rest, method: str, tenant: Tenant, **request: Any) -> dict[str, Any]:
    body = json.dumps({"tenantId": tenant.id, **request})
    return explained(administrator, EXPLAIN, method=method, tenantId=tenant.id, request=body)


def test_what_is_stored_is_told_until_it_is_written_to(administrator: Rest, tenant: Tenant) -> None:
    path = f"{tenant.path}/branding"

    found: list[dict[str, Any]] = []

    def is_stored() -> bool:
        # Any api worker may have answered, and each has a memory of its own.
        tenant.rest.get(path)
        found.append(why(administrator, BRANDING, tenant))
        return steps(found[-1])[-1] == ("memory", "STORED")

    assert steps(why(administrator, BRANDING, tenant)) == [*UP_TO_MEMORY, ("memory", "NOT_STORED")]
    wait_for(is_stored)
    assert f"access:{tenant.id}" in found[-1]["reasons"][-2]["value"]
    assert found[-1]["reasons"][-1]["time"]
    assert tenant.rest.patch(path, {"primaryColor": "#112233"}).status_code == 200
    wait_for(lambda: steps(why(administrator, BRANDING, tenant))[-1] == ("memory", "INVALIDATED"))
    wait_for(is_stored)


def test_rpcs_that_are_not_cached(administrator: Rest, tenant: Tenant) -> None:
    assert steps(why(administrator, CREATE, tenant))[1:] == [("policy", "NOT_DECLARED")]
    answer = why(administrator, LIST, tenant, filter='title = "News"')
    assert steps(answer)[1:] == [("policy", "DECLARED"), ("request", "SEARCH")]
    assert steps(why(administrator, LIST, tenant))[2:4] == [("request", "NO_SEARCH"), ("caller", "PER_CALLER")]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"method": "plinth.sites.v1.PageService/GetPag"}, "method"),
        ({"method": LIST, "request": "{"}, "request"),
        ({"method": LIST, "request": '{"noField": 1}'}, "request"),
        ({"method": LIST, "request": "[]"}, "request"),
        ({"method": LIST, "request": "5"}, "request"),
        ({"method": LIST, "request": "[" * 8000}, "request"),
    ],
)
def test_what_cannot_be_explained_is_named(administrator: Rest, query: dict[str, str], field: str) -> None:
    answer = administrator.get(EXPLAIN, query)
    assert reason(answer) == (422, "RULE_VIOLATED")
    assert field in problem(answer).violations


def test_it_is_for_platform_administrators(tenant: Tenant) -> None:
    assert tenant.rest.get(EXPLAIN, {"method": LIST}).status_code == 403


# What no stack shows -------------------------------------------------------------------------------------------------


class Away:
    """The generations of other hosts, which do not answer."""

    def read(self, slots: Sequence[int]) -> list[int]:
        raise GenerationsAway(slots)

    def write(self, values: dict[int, int]) -> None:
        raise GenerationsAway(values)


def last_reason(cache: AnswerCache | None, ceiling: float = 3600.0) -> Explanation.Reason:
    """Of the answer to GetPage."""
    explainer = CacheExplainer(cache, ceiling, {}, utc_now)
    return explainer.explain(GET, "t", "", GetPageRequest(tenant_id="t", page_id="p")).reasons[-1]


def cache_of(generations: Generations) -> AnswerCache:
    generations.open()
    return AnswerCache(generations, None, 1 << 20, lambda: "one")


def test_a_deployment_without_a_cache() -> None:
    reason = last_reason(None)
    assert (reason.step, reason.code, reason.outcome) == ("deployment", "SWITCHED_OFF", Explanation.OUTCOME_DROP)


def test_a_write_that_has_not_ended(tmp_path: Path) -> None:
    generations = Generations(tmp_path / "generations")
    cache = cache_of(generations)
    slots = generations.slots(["tenant:t:pages"])[1:]
    generations.changing(slots)
    assert last_reason(cache).code == "WRITE_UNDER_WAY"
    generations.changed(slots)
    assert last_reason(cache).code == "NOT_STORED"


def test_other_hosts_that_are_not_heard_of(tmp_path: Path) -> None:
    assert last_reason(cache_of(Generations(tmp_path / "generations", Away()))).code == "HOSTS_UNKNOWN"


def test_an_answer_that_has_expired(tmp_path: Path) -> None:
    cache = cache_of(Generations(tmp_path / "generations"))
    known = CachedMethod.of(GET, 3600.0, {})
    request = GetPageRequest(tenant_id="t", page_id="p")
    slots = cache.generations.slots(known.every_tag("t", request))

    def store(seconds: float) -> None:
        cache.compute(Read(known.key("t", "", request), slots, seconds, cache.counts_of(GET.path), lambda: (b"", "")))

    store(-1.0)
    assert last_reason(cache).code == "EXPIRED"
    store(60.0)
    assert last_reason(cache).code == "STORED"
    # The setting is the shorter of the two.
    reasons = CacheExplainer(cache, 1.0, {}, utc_now).explain(GET, "t", "", request).reasons
    assert (reasons[1].rule_id, reasons[1].value) == ("PLINTH_CACHE_LONGEST", "1 s")
