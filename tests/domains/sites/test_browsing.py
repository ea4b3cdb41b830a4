"""How much the cache spares while people look around a site that others edit."""

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import Rest, Tenant, new_tenant, unique
from tests.domains.platform import new_platform_admin
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
STATEMENTS = Path(__file__).parents[2] / "contract" / "statements.tsv"
PAGES, SECTIONS = 40, 5
READS, READS_PER_WRITE = 3_000, 200
LEAST = 0.6


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """A stack with two workers, as it is delivered, whose cache nobody else uses."""
    stack = Stack(api_workers=2)
    yield stack.start()
    stack.remove()


@pytest.fixture(scope="module")
def site(own: Stack) -> Tenant:
    return new_tenant(own)


def built(site: Tenant) -> list[dict[str, Any]]:
    """The pages of a new site, with their sections and its navigation."""
    pages = []
    for _ in range(PAGES):
        page = site.rest.post(f"{site.path}/pages", {"slug": unique("page"), "title": "A page"}).json()
        requests = [{"section": {"kind": "hero", "content": {"heading": "Hello"}}}] * SECTIONS
        batch = site.rest.post(f"{site.path}/pages/{page['id']}/sections:batchCreate", {"requests": requests})
        assert batch.status_code == 200, batch.text
        pages.append(page)
    for page in pages[:8]:
        site.rest.post(f"{site.path}/navigation", {"title": "A page", "pageId": page["id"]})
    return pages


def counted(own: Stack, token: str) -> dict[str, tuple[int, int]]:
    """Hits and misses of each read."""
    stats = Rest(own, token).get("admin/cache/stats").json()
    spared = ("memoryHits", "redisHits", "coalesced")
    return {each["name"]: (int(sum(each[what] for what in spared)), int(each["misses"])) for each in stats["methods"]}


def test_most_reads_of_people_who_look_around_take_no_statement(own: Stack, site: Tenant) -> None:
    pages, chance = built(site), random.Random(1)  # noqa: S311 - which page is looked at
    token = new_platform_admin(own).access_token
    before = counted(own, token)
    # The first page is looked at most, the tenth a tenth as often (Zipf).
    weights = [1 / place for place in range(1, PAGES + 1)]
    for number in range(1, READS + 1):
        page = chance.choices(pages, weights)[0]
        path = f"{site.path}/pages/{page['id']}"
        what = (f"{site.path}/pages/slug/{page['slug']}", path, f"{path}/sections", f"{site.path}/navigation")
        more = (f"{site.path}/pages", f"{site.path}/branding")
        assert site.rest.get(chance.choices((*what, *more), (6, 3, 5, 4, 1, 1))[0]).status_code == 200
        if number % READS_PER_WRITE == 0:
            assert site.rest.patch(path, {"title": f"A page, {number}"}).status_code == 200
    with STATEMENTS.open(newline="") as file:
        costs = {row["rpc"].lstrip("/"): int(row["statements"]) for row in csv.DictReader(file, delimiter="\t")}
    after = counted(own, token)
    hits = {method: after[method][0] - before.get(method, (0, 0))[0] for method in after}
    misses = {method: after[method][1] - before.get(method, (0, 0))[1] for method in after}
    saved, asked = (sum(costs[each] * some[each] for each in some) for some in (hits, misses))
    rate = sum(hits.values()) / (sum(hits.values()) + sum(misses.values()))
    told = f"{rate:.1%} of {READS:,} reads from the cache, {saved:,} of {saved + asked:,} statements saved"
    assert rate > LEAST, told
    assert saved > LEAST * (saved + asked), told
    print(told)  # noqa: T201 - for who measures
