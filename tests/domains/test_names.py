"""Over REST, what is wrong is named as in the JSON that was sent; over gRPC, by the path in the .proto."""

from typing import Any

import pytest
from plinth.identity.v1.api_key_pb2 import ApiKey, CreateApiKeyRequest
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page

from tests.clients import Tenant, problem, refused


@pytest.mark.parametrize(("path", "body", "fields"), [
    ("{tenant}/pages", {"slug": "Not A Slug", "title": "x" * 301}, {"slug", "title"}),
    ("{tenant}/api-keys", {"name": "k", "callsPerMinute": -1}, {"callsPerMinute"}),
    ("{tenant}/api-keys", {"name": "k", "calls_per_minute": -1, "permissions": ["a" * 300]},
     {"calls_per_minute", "permissions[0]"}),
    ("/api/v1/auth/refresh", {"refreshToken": "x" * 1000}, {"refreshToken"}),
    ("/api/v1/auth/refresh", {"refresh_token": "x" * 1000}, {"refresh_token"}),
])  # fmt: skip
def test_a_rule_is_violated_at_the_key_that_was_sent(
    tenant: Tenant, path: str, body: dict[str, Any], fields: set[str]
) -> None:
    answer = tenant.rest.post(path.replace("{tenant}", tenant.path), body)
    assert answer.status_code == 422, answer.text
    why = problem(answer)
    assert fields <= set(why.violations), why
    assert why.message.partition(":")[0] in why.violations


def test_parameters_and_variables_of_the_path_too(tenant: Tenant) -> None:
    pages = f"{tenant.path}/pages"
    assert set(problem(tenant.rest.get(pages, {"pageSize": -1})).violations) == {"pageSize"}
    assert set(problem(tenant.rest.get(f"{pages}/nonsense")).violations) == {"pageId"}
    assert problem(tenant.rest.get(pages, {"orderBy": "nope"})).message.startswith("orderBy: ")


def test_over_grpc_by_the_path_in_the_proto(tenant: Tenant) -> None:
    page = CreatePageRequest(tenant_id=tenant.id, page=Page(slug="Not A Slug"))
    assert set(refused(lambda: tenant.stubs.pages.CreatePage(page)).violations) == {"page.slug"}
    key = CreateApiKeyRequest(tenant_id=tenant.id, api_key=ApiKey(name="k", calls_per_minute=-1))
    assert "api_key.calls_per_minute" in refused(lambda: tenant.stubs.api_keys.CreateApiKey(key)).violations


class TestUpdateMask:
    """The parameter `updateMask` (AIP-134) says what of the body counts."""

    @pytest.fixture
    def page(self, tenant: Tenant) -> dict[str, Any]:
        """A page with a title and a description."""
        made = tenant.rest.post(f"{tenant.path}/pages", {"title": "Old", "description": "Old"})
        body: dict[str, Any] = made.json()
        return body

    def patch(self, tenant: Tenant, page: dict[str, Any], mask: str, body: dict[str, Any]) -> Any:
        return tenant.rest.patch(f"{tenant.path}/pages/{page['id']}?updateMask={mask}", body)

    def test_keys_outside_of_it_are_not_set(self, tenant: Tenant, page: dict[str, Any]) -> None:
        changed = self.patch(tenant, page, "title", {"title": "New", "description": "New"}).json()
        assert (changed["title"], changed["description"]) == ("New", "Old")

    def test_what_it_names_and_the_body_lacks_is_cleared(self, tenant: Tenant, page: dict[str, Any]) -> None:
        changed = self.patch(tenant, page, "title,description", {"title": "New"}).json()
        assert (changed["title"], changed["description"]) == ("New", "")

    @pytest.mark.parametrize("mask", ["nope", "title,nope", "ti%20tle", "title.deep"])
    def test_what_is_no_field_is_refused(self, tenant: Tenant, page: dict[str, Any], mask: str) -> None:
        answer = self.patch(tenant, page, mask, {"title": "New"})
        assert answer.status_code == 422, answer.text
        assert set(problem(answer).violations) == {"updateMask"}
        assert tenant.rest.get(f"{tenant.path}/pages/{page['id']}").json() == page

    def test_both_spellings(self, tenant: Tenant, page: dict[str, Any]) -> None:
        path = f"{tenant.path}/pages/{page['id']}?update_mask=title"
        assert tenant.rest.patch(path, {"title": "New", "description": "New"}).json()["description"] == "Old"
