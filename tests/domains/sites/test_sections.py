"""Sections of pages. What they share with other resources, such as parent and order, is tried in tests/standard."""

import random
from concurrent.futures import ThreadPoolExecutor

from tests.clients import Rest, Tenant, problem, unique

MOST = 1_000


def new_page(tenant: Tenant) -> str:
    """The path of a new page's sections."""
    page = tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("page")}).json()
    return f"{tenant.path}/pages/{page['id']}/sections"


def add(tenant: Tenant, path: str, *kinds: str) -> list[str]:
    """The ids of new sections, one after the other."""
    answer = tenant.rest.post(f"{path}:batchCreate", {"requests": [{"section": {"kind": kind}} for kind in kinds]})
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["sections"]]


def order(tenant: Tenant, path: str) -> list[str]:
    """The ids of all sections in their order."""
    found: list[str] = []
    token = ""
    while True:
        page = tenant.rest.get(path, {"pageSize": 200, "pageToken": token}).json()
        found += [each["id"] for each in page["sections"]]
        token = page["nextPageToken"]
        if not token:
            return found


def test_many_orders_at_once_leave_one_of_them(tenant: Tenant) -> None:
    """1,000 sections, 50 orders at once: the last one stands whole."""
    path = new_page(tenant)
    made: list[str] = []
    for _ in range(0, MOST, 100):
        made += add(tenant, path, *["hero"] * 100)
    orders = [random.Random(seed).sample(made, len(made)) for seed in range(50)]  # noqa: S311 - no secret
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda ids: tenant.rest.put(f"{path}/reorder", {"ids": ids}), orders))
    assert {answer.status_code for answer in answers} == {200}
    assert order(tenant, path) in orders
    full = tenant.rest.post(path, {"kind": "hero"})
    assert (full.status_code, problem(full).reason, problem(full).metadata["limit"]) == (409, "LIMIT_REACHED", "1000")


def test_whoever_may_read_may_not_write(tenant: Tenant) -> None:
    path = new_page(tenant)
    [section] = add(tenant, path, "hero")
    permissions = ["sites.sections.read"]
    key = tenant.rest.post(f"{tenant.path}/api-keys", {"name": "reader", "permissions": permissions}).json()["key"]
    reader = Rest(tenant.stack, key)
    assert reader.get(f"{path}/{section}").status_code == 200
    for answer in (
        *(reader.post(path, {"kind": "hero"}), reader.put(f"{path}/reorder", {"ids": [section]})),
        *(reader.post(f"{path}/bulk", {"operations": [{}]}), reader.delete(f"{path}/{section}")),
    ):
        assert answer.status_code == 403
