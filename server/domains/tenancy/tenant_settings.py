"""Settings of tenants, in categories. Each category is a message of its own, stored as JSON."""

from collections.abc import Mapping

from plinth.tenancy.v1 import tenant_settings_pb2
from plinth.tenancy.v1.tenant_settings_pb2 import LocalizationSettings, ReportingSettings, TenantSettings
from sqlalchemy import ColumnElement, bindparam, func, literal_column, select

from server.data.statements import Statement
from server.data.transactions import Transaction
from server.domains.tenancy.tables import tenant_settings
from server.kernel.call import Call
from server.kernel.messages import decimal_places
from server.kernel.ports import TenantPreferences
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service
from server.kernel.time_zones import time_zone_faults

_s = tenant_settings.c
CHOSEN: Mapping[str, ColumnElement[str]] = {
    "time_zone": _s.reporting["time_zone"].astext,
    "language": _s.localization["default_language"].astext,
    "sender_name": _s.mail["sender_name"].astext,
    "reply_to": _s.mail["reply_to"].astext,
    "mail_footer": _s.mail["footer"].astext,
}
"""Each of TenantPreferences, and where it is stored."""
PREFERENCES = Statement(
    select(*(func.coalesce(stored, literal_column("''")).label(name) for name, stored in CHOSEN.items())).where(
        _s.tenant_id == bindparam("tenant", type_=_s.tenant_id.type)
    )
)
"""Takes `tenant`. No row for a tenant that has never changed its settings."""
CATEGORIES = ("general", "reporting", "localization", "mail")
"""The fields that are categories."""


def preferences_of(transaction: Transaction, tenant_id: str) -> TenantPreferences:
    """What a tenant has chosen. The scope of the transaction has to reach it."""
    row = transaction.run(PREFERENCES, tenant=tenant_id).first()
    return TenantPreferences(**row) if row else TenantPreferences()


class TenantSettingsService(Service[TenantSettings]):
    """Settings of a tenant."""

    descriptor = tenant_settings_pb2.DESCRIPTOR.services_by_name["TenantSettingsService"]
    resource = Resource(TenantSettings, tenant_settings, singleton=True)

    def prepare(self, call: Call, resource: TenantSettings, before: TenantSettings | None) -> None:
        """Set cleared fields to their defaults."""
        del call, before
        resource.general.SetInParent()
        _fill_reporting(resource.reporting)
        resource.mail.SetInParent()
        localization = resource.localization
        localization.default_language = localization.default_language or "en"

    def check(self, call: Call, resource: TenantSettings, before: TenantSettings | None) -> None:
        """Refuse what no rule of a single field can tell."""
        del call, before
        violations = [*_reporting_faults(resource.reporting), *_language_faults(resource.localization)]
        if violations:
            raise broken_rules(violations)

    def get_tenant_settings_category(
        self, call: Call, request: tenant_settings_pb2.GetTenantSettingsCategoryRequest
    ) -> TenantSettings:
        """The settings of one category."""
        settings = self.rows.get(call)
        for name in CATEGORIES:
            if name != request.category:
                settings.ClearField(name)
        return settings


def _fill_reporting(reporting: ReportingSettings) -> None:
    kind = ReportingSettings
    reporting.time_zone = reporting.time_zone or "UTC"
    reporting.week_start = reporting.week_start or kind.WEEK_START_MONDAY
    reporting.fiscal_year_month = reporting.fiscal_year_month or 1
    reporting.distance_unit = reporting.distance_unit or kind.DISTANCE_UNIT_KILOMETRE
    reporting.volume_unit = reporting.volume_unit or kind.VOLUME_UNIT_LITRE


def _reporting_faults(reporting: ReportingSettings) -> list[Violation]:
    field = "tenant_settings.reporting"
    faults = time_zone_faults(f"{field}.time_zone", reporting.time_zone)
    if reporting.currency and reporting.currency not in decimal_places():
        faults.append(Violation(f"{field}.currency", "is no currency of ISO 4217, such as `EUR`", "currency.known"))
    if reporting.subdivision and not reporting.country:
        faults.append(Violation(f"{field}.subdivision", "needs a country", "subdivision.country"))
    return faults


def _language_faults(localization: LocalizationSettings) -> list[Violation]:
    folded = [language.lower() for language in localization.languages]
    return [
        Violation(f"tenant_settings.localization.languages[{place}]", "is there already", "languages.unique")
        for place, language in enumerate(folded)
        if language in folded[:place]
    ]
