"""Integrations over REST: what they need, that their credentials are shown nowhere, and what a test of them tells."""

from typing import Any

import pytest

from server.domains.integrations.templates import TEMPLATES
from tests.clients import Rest, Tenant, new_member, new_tenant, problem, reason, rows, unique
from tests.domains.events import events_of
from tests.domains.integrations.accounts import ACCOUNTS, GOOD, OPTIONS, named, new_integration
from tests.stack import Stack

PATH = "/api/v1/integrations"
ANOTHER = "xoxb-" + "another0" * 3


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def create(tenant: Tenant, key: str = "slack", **fields: Any) -> dict[str, Any]:
    answer = tenant.rest.post(PATH, new_integration(key, name=unique(key), **fields))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def look_at(tenant: Tenant, integration: dict[str, Any]) -> dict[str, Any]:
    answer = tenant.rest.post(f"{PATH}/{integration['id']}/test", {})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("key", TEMPLATES)
def test_an_account_is_connected_or_not(stack: Stack, tenant: Tenant, key: str) -> None:
    made = create(tenant, key)
    assert (made["status"], made["enabled"]) == ("STATUS_UNTESTED", True)
    assert made["credentialNames"] == sorted(GOOD[key])
    found = look_at(tenant, made)
    assert (found["status"], found["account"], found["lastError"]) == ("STATUS_CONNECTED", ACCOUNTS[key], "")
    assert found["lastTestTime"]
    (field,) = TEMPLATES[key].credentials
    wrong = {field.name: field.example}
    replaced = tenant.rest.post(f"{PATH}/{made['id']}/credentials", {"credentials": named(wrong)})
    assert replaced.status_code == 200, replaced.text
    assert (replaced.json()["status"], replaced.json()["account"]) == ("STATUS_UNTESTED", "")
    refused = look_at(tenant, made)
    words = "the service refuses: invalid_auth" if key == "slack" else "the service rejects the credentials (401)"
    assert (refused["status"], refused["lastError"]) == ("STATUS_FAILING", words)
    told = [event.type for event in events_of(stack, tenant.id) if event.resource_id == made["id"]]
    steps = ("created", "tested", "credentials_replaced", "tested")
    assert told == [f"integration.{step}" for step in steps]


@pytest.mark.parametrize("key", TEMPLATES)
def test_the_examples_of_templates_are_of_the_right_form(tenant: Tenant, key: str) -> None:
    (shown,) = [each for each in templates(tenant) if each["key"] == key]
    assert shown["documentationUrl"].startswith("https://")
    given = {
        kind: [{"name": field["name"], "value": field["example"]} for field in shown.get(kind, [])]
        for kind in ("options", "credentials")
    }
    assert tenant.rest.post(PATH, {"template": key, "name": unique(key), **given}).status_code == 201


def templates(tenant: Tenant) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tenant.rest.get(f"{PATH}/templates").json()["integrationTemplates"]
    return found


def test_the_templates_are_listed(tenant: Tenant) -> None:
    assert [each["key"] for each in templates(tenant)] == sorted(TEMPLATES)


def test_credentials_are_shown_nowhere(stack: Stack, tenant: Tenant) -> None:
    made = create(tenant, credentials=named({"bot_token": ANOTHER}))
    look_at(tenant, made)
    replaced = tenant.rest.post(
        f"{PATH}/{made['id']}/credentials",
        {"credentials": named({"bot_token": ANOTHER + "2"})},
        headers={"idempotency-key": unique("replaced")},
    )
    read = tenant.rest.get(f"{PATH}/{made['id']}")
    for answer in (replaced, read, tenant.rest.get(PATH), tenant.rest.get(f"{tenant.path}/audit")):
        assert answer.status_code == 200
        assert ANOTHER not in answer.text
    assert read.json()["credentials"] == []
    for table in ("integrations", "events", "audit_entries", "idempotency_records"):
        of_tenant = "%s::uuid IS NOT NULL" if table == "idempotency_records" else "tenant_id = %s"
        kept = rows(stack, f"SELECT t::text AS text FROM {table} t WHERE {of_tenant}", tenant.id)
        assert kept
        assert not [row for row in kept if ANOTHER in row["text"] or ANOTHER.encode().hex() in row["text"]], table


def test_changed_options_have_to_be_tested_again_and_other_changes_not(tenant: Tenant) -> None:
    made = create(tenant, "mailgun")
    look_at(tenant, made)
    where = f"{PATH}/{made['id']}"
    renamed = tenant.rest.patch(where, {"description": "For offers", "enabled": False})
    assert (renamed.json()["status"], renamed.json()["account"]) == ("STATUS_CONNECTED", "mg.example.com")
    # What was read can be put back.
    assert tenant.rest.put(where, renamed.json()).status_code == 200
    moved = tenant.rest.patch(where, {"options": named({"domain": "other.example.com"})})
    assert (moved.json()["status"], moved.json()["account"]) == ("STATUS_UNTESTED", "")
    assert look_at(tenant, made)["lastError"] == "the service rejects the credentials (401)"


def test_a_test_that_was_overtaken_stores_nothing(tenant: Tenant) -> None:
    made = create(tenant)
    stale = tenant.rest.post(f"{PATH}/{made['id']}/credentials", {"credentials": named(GOOD["slack"]), "etag": 'W/"0"'})
    assert stale.status_code == 412
    assert tenant.rest.patch(f"{PATH}/{made['id']}", {"credentials": named(GOOD["slack"])}).status_code in (409, 422)
    assert tenant.rest.patch(f"{PATH}/{made['id']}", {"template": "github"}).status_code in (409, 422)


@pytest.mark.parametrize(
    ("key", "changes", "rule", "field"),
    [
        ("slack", {"template": "fax"}, "template.known", "template"),
        ("slack", {"credentials": []}, "credential.missing", "credentials"),
        (
            "slack",
            {"credentials": named({"bot_token": "hello"})},
            "credential.form",
            "credentials[0].value",
        ),
        (
            "slack",
            {"credentials": named({**GOOD["slack"], "other": "x"})},
            "credential.known",
            "credentials[1].name",
        ),
        (
            "slack",
            {"credentials": named(GOOD["slack"]) * 2},
            "credential.unique",
            "credentials[1].name",
        ),
        ("mailgun", {"options": named({"domain": "../../v1"})}, "option.form", "options[0].value"),
        ("mailgun", {"options": named({"domain": "a.example\n"})}, "option.form", "options[0].value"),
        ("mailgun", {"options": []}, "option.missing", "options"),
        ("twilio", {"options": named({"account_sid": "AC../x"})}, "option.form", "options[0].value"),
        (
            "telegram",
            {"credentials": named({"bot_token": "1234567:" + "a/../" * 8})},
            "credential.form",
            "credentials[0].value",
        ),
    ],
)
def test_what_the_template_does_not_take(
    tenant: Tenant, key: str, changes: dict[str, Any], rule: str, field: str
) -> None:
    answer = tenant.rest.post(PATH, new_integration(key, name=unique(key)) | changes)
    assert reason(answer) == (422, "RULE_VIOLATED"), answer.text
    told = problem(answer)
    assert told.rules == (rule,)
    assert [*told.violations] == [field]
    # The text names the form, and never what was given.
    assert not [each["value"] for each in changes.get("credentials", []) if each["value"] in answer.text]


def test_names_are_unique_and_walled(stack: Stack, tenant: Tenant) -> None:
    made = create(tenant)
    assert tenant.rest.post(PATH, new_integration(name=made["name"])).status_code == 409
    other = new_tenant(stack)
    assert other.rest.post(f"{PATH}/{made['id']}/test", {}).status_code == 404
    assert other.rest.post(PATH, new_integration(name=made["name"])).status_code == 201
    editor = Rest(stack, new_member(tenant, "editor")[1].access_token)
    assert editor.get(f"{PATH}/{made['id']}").status_code == 200
    assert editor.post(f"{PATH}/{made['id']}/test", {}).status_code == 403
    assert Rest(stack, new_member(tenant, "member")[1].access_token).get(PATH).status_code == 403


def test_options_are_of_templates_alone() -> None:
    assert OPTIONS.keys() == {key for key, template in TEMPLATES.items() if template.options}
