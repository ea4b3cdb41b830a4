"""Tenancy: tenants, their members and roles, their branding and their limits."""

from datetime import timedelta

from server.domains.tenancy.branding import BrandingService
from server.domains.tenancy.custom_domains import CustomDomainService
from server.domains.tenancy.domain_records import DomainRecords
from server.domains.tenancy.explain_limits import LimitExplainer
from server.domains.tenancy.leaving import leave
from server.domains.tenancy.member_roles import MembershipService
from server.domains.tenancy.memberships import Memberships
from server.domains.tenancy.rate_limits import RateLimitsService, TenantRates
from server.domains.tenancy.roles import RoleService
from server.domains.tenancy.settings import TenancySettings
from server.domains.tenancy.site_places import SitePlaces
from server.domains.tenancy.tables import brandings, custom_domains, domains, memberships, tenant_settings, tenants
from server.domains.tenancy.tables import roles as roles_table
from server.domains.tenancy.tenant_settings import TenantSettingsService, preferences_of
from server.domains.tenancy.tenants import TenantService
from server.kernel.module import Background, Foundation, Module, Platform, Serve, WorkerPlatform
from server.kernel.policy import methods_by_permission
from server.kernel.ports import Offers
from server.kernel.privacy import Erase, Export, NotPersonal
from server.kernel.resources import seen_by


def _offers(foundation: Foundation) -> Offers:
    return Offers(
        tenant_rates=TenantRates(foundation.database, foundation.generations),
        memberships=Memberships(),
        tenant_preferences=preferences_of,
        site_places=SitePlaces(foundation.database),
    )


def _rate_limits(platform: Platform) -> RateLimitsService:
    explainer = LimitExplainer(platform.limit_standings, platform.policies, platform.key_grants, platform.clock)
    return RateLimitsService(platform.rates, explainer)


def _custom_domains(platform: Platform) -> CustomDomainService:
    settings = platform.settings
    records = DomainRecords(settings.own(TenancySettings).tenancy_name_servers)
    return CustomDomainService(records, platform.clock, settings.sites_domain, settings.own_host)


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.tenancy.purging import Purging  # noqa: PLC0415 - in workers only

    kept = timedelta(days=platform.settings.deleted_retention_days)
    return Background(schedules=(Purging(platform.database, kept, platform.clock).schedule,))


MODULE = Module(
    "tenancy",
    services=(
        Serve(TenantService, lambda platform: TenantService(platform.settings.sites_domain)),
        Serve(
            RoleService,
            lambda platform: RoleService(
                platform.permissions,
                methods_by_permission(platform.policies.values()) | seen_by(platform.services),
                platform.key_grants,
            ),
        ),
        Serve(MembershipService, lambda platform: MembershipService(platform.permissions)),
        Serve(RateLimitsService, _rate_limits),
        BrandingService,
        Serve(CustomDomainService, _custom_domains),
        TenantSettingsService,
    ),
    roles={
        "admin": ("-tenancy.tenants.delete",),
        "editor": ("tenancy.tenants.read", "tenancy.branding.*"),
        "member": ("tenancy.*.read",),
        "viewer": ("tenancy.*.read",),
        "employee": ("tenancy.*.read",),
    },
    offers=_offers,
    settings=TenancySettings,
    erases=(
        Erase(table=memberships, columns=("user_id", "roles"), run=leave, ends_access=True),
        NotPersonal(tenants, "subdomain", "name", "settings", "rate_limits", why="of an organisation"),
        NotPersonal(roles_table, "name", "description", "permissions", why="names what somebody may do"),
        NotPersonal(domains, "hostname", why="of an organisation"),
        NotPersonal(custom_domains, "hostname", "record_value", "last_error", why="of an organisation"),
        NotPersonal(
            brandings,
            *("logo_url", "favicon_url", "primary_color", "secondary_color", "accent_color"),
            *("heading_font", "body_font"),
            why="of an organisation",
        ),
        NotPersonal(tenant_settings, "general", "reporting", "localization", "mail", why="of an organisation"),
    ),
    exports=(Export(memberships),),
    background=_background,
)
