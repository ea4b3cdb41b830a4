"""Calls with `x-validate-only`: they answer as they would, and nothing of them is kept."""

import pytest

from tests.clients import Rest, Tenant, new_tenant, reason, rows, unique
from tests.stack import Stack

TRIED = "x-validate-only"
TRIAL = {TRIED: "true"}


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def slugs(tenant: Tenant) -> set[str]:
    return {page["slug"] for page in tenant.rest.get(f"{tenant.path}/pages").json()["pages"]}


def test_a_created_resource_is_answered_and_not_there(tenant: Tenant) -> None:
    slug = unique("tried")
    answer = tenant.rest.post(f"{tenant.path}/pages", {"title": "Hello", "slug": slug}, headers=TRIAL)
    assert (answer.status_code, answer.headers[TRIED]) == (201, "true")
    page = answer.json()
    assert (page["slug"], page["status"]) == (slug, "STATUS_DRAFT")
    assert tenant.rest.get(f"{tenant.path}/pages/{page['id']}").status_code == 404
    assert slug not in slugs(tenant)
    assert rows(tenant.stack, "SELECT id FROM events WHERE resource_id = %s", page["id"]) == []


def test_a_trial_is_refused_for_what_the_call_would_be_refused_for(tenant: Tenant) -> None:
    slug = unique("taken")
    pages = f"{tenant.path}/pages"
    page = tenant.rest.post(pages, {"title": "Hello", "slug": slug}).json()
    taken = tenant.rest.post(pages, {"title": "Hello", "slug": slug}, headers=TRIAL)
    assert reason(taken) == (409, "RESOURCE_TAKEN")
    stale = tenant.rest.patch(f"{pages}/{page['id']}", {"title": "x"}, headers=TRIAL | {"if-match": '"0"'})
    assert reason(stale) == (412, "ETAG_MISMATCH")
    wrong = tenant.rest.post(pages, {"title": "x" * 301}, headers=TRIAL)
    assert reason(wrong) == (422, "RULE_VIOLATED")
    assert reason(Rest(tenant.stack).post(pages, {"title": "x"}, headers=TRIAL)) == (401, "CREDENTIALS_MISSING")


def test_a_changed_resource_stays_as_it_was(tenant: Tenant) -> None:
    pages = f"{tenant.path}/pages"
    page = tenant.rest.post(pages, {"title": "Before"}).json()
    # Read, so that it is cached: a trial invalidates nothing and caches nothing.
    assert tenant.rest.get(f"{pages}/{page['id']}").json() == page
    changed = tenant.rest.patch(f"{pages}/{page['id']}", {"title": "After"}, headers=TRIAL)
    assert (changed.status_code, changed.json()["title"]) == (200, "After")
    published = tenant.rest.post(f"{pages}/{page['id']}/publish", {}, headers=TRIAL)
    assert (published.status_code, published.json()["status"]) == (200, "STATUS_PUBLISHED")
    assert tenant.rest.delete(f"{pages}/{page['id']}", headers=TRIAL).status_code in {200, 204}
    assert tenant.rest.get(f"{pages}/{page['id']}").json() == page


def test_a_trial_takes_no_idempotency_key(tenant: Tenant) -> None:
    pages, keyed = f"{tenant.path}/pages", {"idempotency-key": unique("key")}
    body = {"title": "Hello", "slug": unique("keyed")}
    tried = tenant.rest.post(pages, body, headers=TRIAL | keyed)
    made = tenant.rest.post(pages, body, headers=keyed)
    assert (tried.status_code, made.status_code) == (201, 201)
    assert "idempotent-replay" not in made.headers
    assert TRIED not in made.headers
    again = tenant.rest.post(pages, body, headers=TRIAL | keyed)
    assert reason(again) == (409, "RESOURCE_TAKEN")


@pytest.mark.parametrize("told", ["yes", "1", "TRUE", ""])
def test_what_may_have_been_meant_as_a_trial_is_none(tenant: Tenant, told: str) -> None:
    slug = unique("meant")
    answer = tenant.rest.post(f"{tenant.path}/pages", {"title": "x", "slug": slug}, headers={TRIED: told})
    assert reason(answer) == (400, "TRIAL_IMPOSSIBLE")
    assert slug not in slugs(tenant)


def test_what_acts_outside_its_transaction_is_not_tried(tenant: Tenant) -> None:
    owner = tenant.owner
    answer = Rest(tenant.stack).post("auth/login", {"email": owner.email, "password": owner.password}, headers=TRIAL)
    assert reason(answer) == (400, "TRIAL_IMPOSSIBLE")


def test_a_trial_of_sending_sends_nothing(tenant: Tenant) -> None:
    """An RPC that waits for others acts outside its transaction."""
    path = f"{tenant.path}/webhooks"
    webhook = tenant.rest.post(path, {"url": "https://example.com/hooks", "eventTypes": ["page.created"]}).json()
    tried = tenant.rest.post(f"{path}/{webhook['id']}/test", {}, headers=TRIAL)
    assert reason(tried) == (400, "TRIAL_IMPOSSIBLE")
    assert tenant.rest.get(f"{path}/{webhook['id']}/deliveries").json()["webhookDeliveries"] == []


def test_false_is_no_trial(tenant: Tenant) -> None:
    slug = unique("real")
    answer = tenant.rest.post(f"{tenant.path}/pages", {"title": "x", "slug": slug}, headers={TRIED: "false"})
    assert answer.status_code == 201
    assert slug in slugs(tenant)
