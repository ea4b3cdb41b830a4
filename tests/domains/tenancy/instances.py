"""How tenants, roles and the look of a tenant are made and changed."""

from tests.clients import Tenant, unique
from tests.contract.instances import LAST, MARK, PERMISSION, Instance, Mutation, Named, made
from tests.domains.identity.instances import SWITCH


def _role(tenant: Tenant) -> Named:
    body = {"name": unique("role"), "description": f"{MARK}-{tenant.subdomain}", "permissions": [PERMISSION]}
    role = made(tenant, "rbac/roles", body)
    named = {"permission": PERMISSION, "method": "plinth.sites.v1.PageService/ListPages"}
    return named | {"role_id": role["id"], "role": role["name"]}


def _branding(tenant: Tenant) -> Named:
    response = tenant.rest.patch(f"{tenant.path}/branding", {"headingFont": f"{MARK}-{tenant.subdomain}"})
    assert response.status_code == 200, response.text
    return {}


def _custom_domain(tenant: Tenant) -> Named:
    domain = made(
        tenant, f"{tenant.path}/custom-domains", {"hostname": f"{MARK}.{tenant.subdomain}.{unique('x')}.example"}
    )
    return {"custom_domain_id": domain["id"], "etag": domain["etag"]}


def _settings(tenant: Tenant) -> Named:
    response = tenant.rest.patch("/api/v1/settings", {"general": {"legalName": f"{MARK}-{tenant.subdomain}"}})
    assert response.status_code == 200, response.text
    return {"category": "general"}


INSTANCES = {
    "plinth.tenancy.v1.Tenant": Instance(lambda tenant: {"tenant_id": tenant.id}, lambda: {"name": unique("Planted")}),
    "plinth.tenancy.v1.Role": Instance(
        _role, lambda: {"name": unique("planted"), "permissions": [PERMISSION]}, alone=False
    ),
    "plinth.tenancy.v1.TenantSettings": Instance(_settings, lambda: {"general": {"legalName": unique("Planted")}}),
    "plinth.tenancy.v1.CustomDomain": Instance(_custom_domain, lambda: {"hostname": f"{unique('www')}.example"}),
    "plinth.tenancy.v1.Branding": Instance(_branding, lambda: {"headingFont": "Planted"}),
}
MUTATIONS = (
    Mutation("CustomDomainService/CreateCustomDomain"),
    Mutation("CustomDomainService/VerifyCustomDomain"),
    Mutation("CustomDomainService/DeleteCustomDomain"),
    Mutation("BrandingService/UpdateBranding"),
    Mutation("BrandingService/DeleteBranding"),
    Mutation("TenantSettingsService/UpdateTenantSettings"),
    Mutation("RoleService/CreateRole"),
    Mutation("RoleService/UpdateRole", lambda _: {"updateMask": "description"}, mask=("description",)),
    Mutation("MembershipService/AssignRole"),
    Mutation("MembershipService/RemoveRole", before="AssignRole"),
    Mutation("RoleService/DeleteRole"),
    Mutation(
        "RateLimitsService/ReplaceRateLimits",
        lambda _: {"overrides": [{"rateClass": "default", "calls": 1000000, "periodSeconds": 60}]},
    ),
    Mutation(
        "TenantService/CreateTenant",
        lambda _: {"tenant": {"subdomain": unique("t"), "name": "Planted"}},
        session=SWITCH,
    ),
    Mutation("TenantService/UpdateTenant"),
    Mutation("TenantService/DeleteTenant", stage=LAST),
)
