"""Settings of tenants: defaults before the first change, categories, and what the reports take from them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients import Rest, Tenant, new_member, problem, reason, rows

PATH = "/api/v1/settings"
AT_ONCE = 6


def test_every_tenant_has_defaults_before_its_first_change(tenant: Tenant) -> None:
    settings = tenant.rest.get(PATH).json()
    assert settings["id"] == settings["tenantId"] == tenant.id
    assert settings["reporting"] == {
        "timeZone": "UTC",
        "currency": "",
        "weekStart": "WEEK_START_MONDAY",
        "fiscalYearMonth": 1,
        "country": "",
        "subdivision": "",
        "distanceUnit": "DISTANCE_UNIT_KILOMETRE",
        "volumeUnit": "VOLUME_UNIT_LITRE",
    }
    assert settings["localization"] == {"defaultLanguage": "en", "languages": []}
    assert settings["general"]["legalName"] == ""
    assert settings.get("createTime") is None
    assert rows(tenant.stack, "SELECT FROM tenant_settings WHERE tenant_id = %s", tenant.id) == []


def test_a_change_of_one_setting_leaves_the_others(tenant: Tenant) -> None:
    tenant.rest.patch(PATH, {"reporting": {"currency": "EUR", "country": "ES", "subdivision": "MD"}})
    changed = tenant.rest.put(PATH, {"reporting": {"timeZone": "Europe/Madrid"}, "general": {"phone": "+34910000000"}})
    assert changed.status_code == 200, changed.text
    stored = tenant.rest.get(PATH).json()
    assert (
        stored["reporting"] | {"timeZone": "Europe/Madrid", "currency": "EUR", "subdivision": "MD"}
        == (stored["reporting"])
    )
    assert stored["general"]["phone"] == "+34910000000"
    cleared = tenant.rest.patch(PATH, {"reporting": {"timeZone": ""}}).json()
    assert (cleared["reporting"]["timeZone"], cleared["reporting"]["currency"]) == ("UTC", "EUR")
    assert len(rows(tenant.stack, "SELECT FROM tenant_settings WHERE tenant_id = %s", tenant.id)) == 1


def test_a_category_is_shown_alone(tenant: Tenant) -> None:
    tenant.rest.patch(PATH, {"localization": {"defaultLanguage": "es", "languages": ["ca", "en-GB"]}})
    shown = tenant.rest.get(f"{PATH}/localization").json()
    assert shown["localization"] == {"defaultLanguage": "es", "languages": ["ca", "en-GB"]}
    assert shown.get("reporting") is None
    assert shown.get("general") is None
    assert shown["etag"] == tenant.rest.get(PATH).json()["etag"]
    assert reason(tenant.rest.get(f"{PATH}/colours")) == (422, "RULE_VIOLATED")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reporting": {"timeZone": "Mars/Base"}}, "reporting.timeZone"),
        ({"reporting": {"currency": "EUX"}}, "reporting.currency"),
        ({"reporting": {"subdivision": "MD"}}, "reporting.subdivision"),
        ({"reporting": {"fiscalYearMonth": 13}}, "reporting.fiscalYearMonth"),
        ({"general": {"contactEmail": "nobody"}}, "general.contactEmail"),
        ({"localization": {"languages": ["es", "ES"]}}, "localization.languages[1]"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tenant: Tenant, change: dict[str, object], field: str) -> None:
    refused = tenant.rest.patch(PATH, change)
    assert reason(refused) == (422, "RULE_VIOLATED")
    assert list(problem(refused).violations) == [field]


def test_of_first_changes_at_once_each_is_kept(tenant: Tenant) -> None:
    names = ["legalName", "postalAddress", "taxNumber"] * 2

    def change(name: str) -> int:
        return int(tenant.rest.patch(PATH, {"general": {name: f"{name}!"}}).status_code)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert set(threads.map(change, names)) == {200}
    general = tenant.rest.get(PATH).json()["general"]
    assert [general[name] for name in names[:3]] == [f"{name}!" for name in names[:3]]


def test_a_first_change_with_the_etag_of_the_defaults_is_refused_after_another(tenant: Tenant) -> None:
    etag = tenant.rest.get(PATH).json()["etag"]
    assert tenant.rest.patch(PATH, {"general": {"legalName": "One"}, "etag": etag}).status_code == 200
    late = tenant.rest.patch(PATH, {"general": {"legalName": "Two"}, "etag": etag})
    assert reason(late) == (412, "ETAG_MISMATCH")


def test_members_read_them_and_do_not_change_them(tenant: Tenant) -> None:
    member = Rest(tenant.stack, new_member(tenant, "member")[1].access_token)
    assert member.get(f"{PATH}/reporting").status_code == 200
    assert reason(member.patch(PATH, {"general": {"legalName": "Mine"}})) == (403, "PERMISSION_MISSING")


def test_reports_have_the_days_of_the_tenants_zone(tenant: Tenant) -> None:
    overview = f"{tenant.path}/audit/security-overview?range.period=PERIOD_TODAY"

    def zone(query: str = "") -> set[str]:
        return {metric["range"]["timeZone"] for metric in tenant.rest.get(overview + query).json()["metrics"]}

    assert zone() == {"UTC"}
    tenant.rest.patch(PATH, {"reporting": {"timeZone": "Asia/Riyadh"}})
    assert zone() == {"Asia/Riyadh"}
    assert zone("&range.timeZone=Europe/Madrid") == {"Europe/Madrid"}
