"""Branding: every tenant has exactly one, and what is cleared takes its default."""

from typing import Any

import httpx
import pytest
from plinth.tenancy.v1.branding_pb2 import Branding, GetBrandingRequest, UpdateBrandingRequest

from tests.clients import Tenant, problem, rows
from tests.domains.events import events_of
from tests.stack import Stack

DEFAULTS = {
    "logoUrl": "",
    "faviconUrl": "",
    "primaryColor": "#1f4e79",
    "secondaryColor": "#f2f4f7",
    "accentColor": "#e07a1f",
    "headingFont": "Inter",
    "bodyFont": "Inter",
}
OWN = {
    "logoUrl": "https://cdn.example.com/logo.svg",
    "faviconUrl": "http://example.com/favicon.ico",
    "primaryColor": "#000000",
    "secondaryColor": "#FFFFFF",
    "accentColor": "#a1B2c3",
    "headingFont": "Fraunces",
    "bodyFont": "Noto Sans",
}


class Brand:
    """The branding of one tenant, over REST."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.path = f"{tenant.path}/branding"

    def get(self, **headers: str) -> httpx.Response:
        return self.tenant.rest.get(self.path, headers=headers)

    def patch(self, changes: dict[str, Any], **headers: str) -> httpx.Response:
        return self.tenant.rest.patch(
            self.path, changes, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    def looks(self) -> dict[str, str]:
        body = self.get().json()
        return {name: body[name] for name in DEFAULTS}


@pytest.fixture
def brand(tenant: Tenant) -> Brand:
    """The branding of a new tenant."""
    return Brand(tenant)


def test_a_new_tenant_has_the_defaults(brand: Brand) -> None:
    response = brand.get()
    assert response.status_code == 200
    assert response.json() == response.json() | DEFAULTS | {"tenantId": brand.tenant.id}
    assert response.headers["etag"] == response.json()["etag"]
    over_rpc = brand.tenant.stubs.branding.GetBranding(GetBrandingRequest(tenant_id=brand.tenant.id))
    assert (over_rpc.id, over_rpc.etag) == (response.json()["id"], response.json()["etag"])


def test_what_is_named_is_set_and_the_rest_stays(brand: Brand) -> None:
    response = brand.patch({"primaryColor": "#123456"})
    assert response.status_code == 200
    assert brand.looks() == DEFAULTS | {"primaryColor": "#123456"}
    assert brand.tenant.rest.put(brand.path, OWN).status_code == 200
    assert brand.looks() == OWN


@pytest.mark.parametrize("cleared", [None, ""])
def test_what_is_cleared_takes_its_default(brand: Brand, cleared: str | None) -> None:
    brand.patch(OWN)
    for name, default in DEFAULTS.items():
        assert brand.patch({name: cleared}).json()[name] == default
    assert brand.looks() == DEFAULTS


def test_a_mask_clears_over_grpc_too(brand: Brand) -> None:
    brand.patch(OWN)
    request = UpdateBrandingRequest(
        tenant_id=brand.tenant.id,
        branding=Branding(body_font="Arial"),
        update_mask={"paths": ["body_font", "heading_font", "logo_url"]},
    )
    answer = brand.tenant.stubs.branding.UpdateBranding(request)
    assert (answer.body_font, answer.heading_font, answer.logo_url) == ("Arial", "Inter", "")
    assert brand.looks() == OWN | {"bodyFont": "Arial", "headingFont": "Inter", "logoUrl": ""}


def test_deleting_resets_and_keeps_the_branding(stack: Stack, brand: Brand) -> None:
    before = brand.patch(OWN).json()
    response = brand.tenant.rest.delete(brand.path)
    assert (response.status_code, response.content) == (204, b"")
    assert brand.looks() == DEFAULTS
    after = brand.get().json()
    assert (after["id"], after["createTime"]) == (before["id"], before["createTime"])
    assert after["etag"] != before["etag"]
    assert len(rows(stack, "SELECT FROM brandings WHERE tenant_id = %s", brand.tenant.id)) == 1
    # Again does no harm.
    assert brand.tenant.rest.delete(brand.path).status_code == 204


def test_a_stale_etag_changes_nothing(brand: Brand) -> None:
    first = brand.get().json()["etag"]
    second = brand.patch({"bodyFont": "Arial"}, if_match=first).json()["etag"]
    for response in (
        brand.patch({"bodyFont": "Mine"}, if_match=first),
        brand.patch({"bodyFont": "Mine", "etag": first}),
        brand.tenant.rest.delete(brand.path, headers={"if-match": first}),
    ):
        assert (response.status_code, problem(response).reason) == (412, "ETAG_MISMATCH")
        assert problem(response).metadata["etag"] == second
    assert brand.looks() == DEFAULTS | {"bodyFont": "Arial"}
    response = brand.tenant.rest.get(brand.path, headers={"if-none-match": second})
    assert response.status_code == 304


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("primaryColor", "red"),
        ("primaryColor", "#12345"),
        ("accentColor", "#1234567"),
        ("logoUrl", "javascript:alert(1)"),
        ("logoUrl", "https://example.com/a b"),
        ("faviconUrl", "ftp://example.com/x"),
        ("bodyFont", "x" * 201),
    ],
)
def test_what_breaks_a_rule_is_named_and_changes_nothing(brand: Brand, name: str, value: str) -> None:
    response = brand.patch({name: value, "headingFont": "Arial"})
    assert (response.status_code, problem(response).reason) == (422, "RULE_VIOLATED")
    assert set(problem(response).violations) == {name}
    assert brand.looks() == DEFAULTS


def test_each_mutation_leaves_its_event(stack: Stack, brand: Brand) -> None:
    brand.patch({"bodyFont": "Arial"})
    brand.patch({"bodyFont": "x" * 201})
    brand.tenant.rest.delete(brand.path)
    events = [event for event in events_of(stack, brand.tenant.id) if event.type.startswith("branding.")]
    assert [(event.type, event.payload.body_font) for event in events] == [
        ("branding.updated", "Arial"),
        ("branding.reset", "Inter"),
    ]
