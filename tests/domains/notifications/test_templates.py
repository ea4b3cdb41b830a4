"""Templates: what was published is filled for each recipient in their language."""

from typing import Any

import pytest

from tests.clients import Rest, Tenant, new_member, new_tenant, problem, rows, unique
from tests.contract.instances import made
from tests.domains.notifications.instances import sent
from tests.stack import Stack, wait_for

PATH = "/api/v1/notifications"
TEMPLATES = f"{PATH}/templates"


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def template(tenant: Tenant, locale: str, title: str, **more: Any) -> dict[str, Any]:
    return made(tenant, TEMPLATES, {"key": "ready", "locale": locale, "title": title} | more)


def publish(tenant: Tenant, given: dict[str, Any]) -> dict[str, Any]:
    answer = tenant.rest.post(f"{TEMPLATES}/{given['id']}/publish", {})
    assert answer.status_code == 200, answer.text
    published: dict[str, Any] = answer.json()
    return published


def use(tenant: Tenant, *user_ids: str, **values: Any) -> Any:
    message = {"template": {"key": "ready", "values": values}}
    return tenant.rest.post(PATH, {"userIds": list(user_ids or [tenant.owner.id]), "message": message})


def shown(rest: Rest) -> list[tuple[str, str, str]]:
    found = rest.get(PATH).json()["notifications"]
    return [(each["title"], each.get("body", ""), each.get("url", "")) for each in found]


def test_each_reads_it_in_their_language(tenant: Tenant, stack: Stack) -> None:
    english = template(tenant, "en", "{{ car }} is ready", body="Until {{ hour }}:00.", url="/orders/{{ order }}")
    assert english["variables"] == ["car", "hour", "order"]
    publish(tenant, english)
    publish(
        tenant, template(tenant, "de-at", "{{ car }} ist fertig", body="Bis {{ hour }} Uhr.", url="/orders/{{ order }}")
    )
    account, session = new_member(tenant, "member")
    other = Rest(stack, session.access_token)
    path = f"/api/v1/users/{account.id}/preferences"
    assert other.patch(path, {"language": "de-AT"}).status_code == 200
    answer = use(tenant, tenant.owner.id, account.id, car="Your Golf", hour=18, order=7)
    assert answer.status_code == 201, answer.text
    assert shown(tenant.rest) == [("Your Golf is ready", "Until 18:00.", "/orders/7")]
    assert shown(other) == [("Your Golf ist fertig", "Bis 18 Uhr.", "/orders/7")]
    # Their values are not kept beside what they make.
    audit = rows(stack, "SELECT changes FROM audit_entries WHERE tenant_id = %s", tenant.id)
    assert "Your Golf" not in str(audit)


def test_a_draft_changes_nothing_until_it_is_published(tenant: Tenant) -> None:
    made_one = template(tenant, "en", "First")
    assert problem(use(tenant)).rules == ("template.known",)
    published = publish(tenant, made_one)
    assert (published["versionNumber"], published["published"]) == (1, {"title": "First"} | {"body": "", "url": ""})
    again = tenant.rest.post(f"{TEMPLATES}/{made_one['id']}/publish", {})
    assert problem(again).reason == "STATE_FORBIDS"
    tenant.rest.patch(f"{TEMPLATES}/{made_one['id']}", {"title": "Second"})
    use(tenant)
    assert publish(tenant, made_one)["versionNumber"] == 2
    use(tenant)
    assert [title for title, _, _ in shown(tenant.rest)] == ["Second", "First"]


def test_values_that_do_not_fit_are_refused_and_nobody_is_told(tenant: Tenant) -> None:
    publish(tenant, template(tenant, "en", "{{ name }}", url="{{ where | default('/') }}"))
    for values in ({}, {"name": ""}, {"name": "x" * 201}, {"name": "a", "where": "javascript:alert(1)"}):
        refused = use(tenant, **values)
        assert problem(refused).violations.keys() == {"message.template.values"}, values
    body = {"userIds": [tenant.owner.id], "message": {"title": "x", "template": {"key": "ready"}}}
    assert problem(tenant.rest.post(PATH, body)).rules == ("template.alone",)
    assert problem(tenant.rest.post(PATH, body | {"message": {"body": "x"}})).rules == ("required",)
    assert shown(tenant.rest) == []


def test_what_is_none_of_the_language_is_refused(tenant: Tenant) -> None:
    for title in ("{{ a", "{% include 'x' %}", "{{ a.__class__() }}", "{{ a | nothing }}"):
        refused = tenant.rest.post(TEMPLATES, {"key": unique("k"), "locale": "en", "title": title})
        assert problem(refused).rules == ("template.language",), title


def test_a_preview_shows_the_draft(tenant: Tenant) -> None:
    made_one = template(tenant, "en", "Hello {{ name }}", body="{% for each in list %}{{ each }} {% endfor %}")
    values = {"values": {"name": "Ada", "list": ["a", "b"]}}
    answer = tenant.rest.post(f"{TEMPLATES}/{made_one['id']}/preview", values)
    assert answer.json() == {"title": "Hello Ada", "body": "a b", "url": ""}


def test_what_waits_for_its_time_keeps_its_text(tenant: Tenant) -> None:
    made_one = template(tenant, "en", "First {{ n }}")
    publish(tenant, made_one)
    message = {"template": {"key": "ready", "values": {"n": 1}}}
    body = {"userIds": [tenant.owner.id], "message": message, "sendTime": "2027-01-01T00:00:00Z"}
    schedule = made(tenant, f"{PATH}/schedule", body)
    assert schedule["message"]["template"] == {"key": "ready"}
    tenant.rest.delete(f"{TEMPLATES}/{made_one['id']}")
    now = "UPDATE notification_schedules SET send_time = now() WHERE id = %s RETURNING id"
    rows(tenant.stack, now, schedule["id"])
    wait_for(lambda: shown(tenant.rest) == [("First 1", "", "")], what="the notification")


def test_a_message_without_a_template_reads_the_same_for_all(tenant: Tenant) -> None:
    sent(tenant, title="{{ not a template }}")
    assert [title for title, _, _ in shown(tenant.rest)] == ["{{ not a template }}"]
