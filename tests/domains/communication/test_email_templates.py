"""Templates of mail over REST: drafts, versions, previews, and messages that are made from them."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.clients import Rest, Tenant, new_member, new_tenant, problem, unique
from tests.domains.communication.instances import MJML, TEMPLATES
from tests.mailbox import address, mailbox_of, text_of
from tests.stack import Stack

MESSAGES = "/api/v1/email/messages"
ROWS = "{% for line in lines %}<tr><td>{{ line.name }}</td></tr>{% endfor %}"
BODY = MJML.format(f"Hello {{{{ name }}}}, <b>it is ready</b>.<table>{ROWS}</table>")
VALUES = {"name": "<Ada>", "lines": [{"name": "Oil"}, {"name": "Air"}]}


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def template(rest: Rest, **facts: Any) -> dict[str, Any]:
    """A new template."""
    body = {"key": unique("order"), "locale": "en", "subject": "{{ name }}: ready", "mjml": BODY, **facts}
    answer = rest.post(TEMPLATES, body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def publish(rest: Rest, of: Mapping[str, Any]) -> dict[str, Any]:
    answer = rest.post(f"{TEMPLATES}/{of['id']}/publish", {})
    assert answer.status_code == 200, answer.text
    published: dict[str, Any] = answer.json()
    return published


def published(rest: Rest, **facts: Any) -> dict[str, Any]:
    return publish(rest, template(rest, **facts))


def versions(rest: Rest, of: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The versions of a template, the newest first."""
    found: list[dict[str, Any]] = rest.get(f"{TEMPLATES}/{of['id']}/versions").json()["emailTemplateVersions"]
    return found


def send(rest: Rest, use: Mapping[str, Any], **facts: Any) -> Any:
    return rest.post(MESSAGES, {"to": address(), "template": {"values": VALUES, **use}, **facts})


def broken(response: Any) -> dict[str, str]:
    """The rules that a refused request breaks, by the paths of its fields."""
    assert response.status_code == 422, response.text
    told = problem(response)
    return dict(zip(told.violations, told.rules, strict=True))


def test_a_message_from_a_template_arrives_as_html_and_text(stack: Stack, tenant: Tenant) -> None:
    made = published(tenant.rest)
    assert made["variables"] == ["lines", "name"]
    assert made["versionNumber"] == 1
    assert "publishTime" in made
    to = address()
    queued = send(tenant.rest, {"key": made["key"]}, to=to)
    assert queued.status_code == 201, queued.text
    (version,) = versions(tenant.rest, made)
    assert queued.json()["emailTemplateVersionId"] == version["id"]
    assert queued.json()["subject"] == "<Ada>: ready"
    assert "template" not in queued.json()
    (message,) = mailbox_of(stack).wait_for(to)
    assert message["Subject"] == "<Ada>: ready"
    html = message.get_body(("html",))
    assert html is not None
    content = html.get_content()
    assert "Hello &lt;Ada&gt;, <b>it is ready</b>" in content
    assert "<td>Oil</td></tr><tr><td>Air</td>" in content
    assert text_of(message).split() == ["Hello", "<Ada>,", "it", "is", "ready.", "Oil", "Air"]


def test_messages_are_made_from_the_newest_version_and_not_from_the_draft(tenant: Tenant) -> None:
    made = template(tenant.rest, subject="First")
    url = f"{TEMPLATES}/{made['id']}"
    unpublished = send(tenant.rest, {"key": made["key"]})
    assert broken(unpublished) == {"template.key": "template.known"}
    publish(tenant.rest, made)
    assert tenant.rest.patch(url, {"subject": "Second"}).status_code == 200
    waiting = send(tenant.rest, {"key": made["key"]}).json()
    assert waiting["subject"] == "First"
    assert publish(tenant.rest, made)["versionNumber"] == 2
    assert send(tenant.rest, {"key": made["key"]}).json()["subject"] == "Second"
    assert tenant.rest.get(f"{MESSAGES}/{waiting['id']}").json()["subject"] == "First"
    again = tenant.rest.post(f"{url}/publish", {})
    assert (again.status_code, problem(again).reason) == (409, "STATE_FORBIDS")
    second, first = versions(tenant.rest, made)
    restored = tenant.rest.post(f"{url}/restore", {"emailTemplateVersionId": first["id"]})
    assert restored.json()["subject"] == "First"
    assert publish(tenant.rest, made)["versionNumber"] == 3
    assert send(tenant.rest, {"key": made["key"]}).json()["subject"] == "First"
    assert [each["number"] for each in versions(tenant.rest, made)] == [3, 2, 1]
    other = template(tenant.rest)
    strange = {"emailTemplateVersionId": second["id"]}
    assert tenant.rest.post(f"{TEMPLATES}/{other['id']}/restore", strange).status_code == 404


def test_a_preview_shows_the_draft_or_a_version_and_stores_nothing(tenant: Tenant) -> None:
    made = published(tenant.rest, subject="First", mjml="", text="Hello {{ name }}")
    url = f"{TEMPLATES}/{made['id']}"
    tenant.rest.patch(url, {"subject": "Second"})
    values = {"values": {"name": "<Ada>"}}
    (first,) = versions(tenant.rest, made)
    one = {"emailTemplateVersionId": first["id"]}
    assert tenant.rest.post(f"{url}/preview", values).json() == {
        "subject": "Second",
        "html": "",
        "text": "Hello <Ada>",
    }
    assert tenant.rest.post(f"{url}/preview", values | one).json()["subject"] == "First"
    missing = tenant.rest.post(f"{url}/preview", {})
    assert broken(missing) == {"values": "template.values"}
    assert "needs `name`" in problem(missing).message


def test_a_locale_takes_the_nearest_template(tenant: Tenant) -> None:
    key = unique("order")
    for locale in ("en", "de", "de-at", "fr"):
        published(tenant.rest, key=key, locale=locale, subject=locale, mjml="", text="x")
    taken = {
        locale: send(tenant.rest, {"key": key, "locale": locale}).json()["subject"]
        for locale in ("de-AT", "de-CH", "DE", "en-GB", "it", "")
    }
    assert taken == {"de-AT": "de-at", "de-CH": "de", "DE": "de", "en-GB": "en", "it": "en", "": "en"}
    changed = tenant.rest.patch("/api/v1/settings", {"localization": {"defaultLanguage": "fr-CA"}})
    assert changed.status_code == 200, changed.text
    assert send(tenant.rest, {"key": key, "locale": "it"}).json()["subject"] == "fr"
    assert send(tenant.rest, {"key": key, "locale": "de"}).json()["subject"] == "de"


def test_a_key_is_taken_once_in_each_locale(tenant: Tenant) -> None:
    made = template(tenant.rest, locale="zh-hant-tw")
    assert made["locale"] == "zh-Hant-TW"
    again = tenant.rest.post(
        TEMPLATES, {key: made[key] for key in ("key", "subject", "mjml")} | {"locale": "ZH-HANT-TW"}
    )
    assert again.status_code == 409
    assert template(tenant.rest, key=made["key"], locale="zh")["key"] == made["key"]
    assert tenant.rest.patch(f"{TEMPLATES}/{made['id']}", {"locale": "zh-hant-tw"}).status_code == 200
    assert broken(tenant.rest.patch(f"{TEMPLATES}/{made['id']}", {"locale": "zh"})) == {"locale": "immutable"}


@pytest.mark.parametrize(
    ("facts", "violations"),
    [
        ({"key": "Order"}, {"key": "string.code"}),
        ({"key": "1"}, {"key": "string.code"}),
        ({"locale": "deutsch-"}, {"locale": "string.language_tag"}),
        ({"locale": "de_AT"}, {"locale": "string.language_tag"}),
        ({"locale": "d"}, {"locale": "string.language_tag"}),
        ({"mjml": "", "text": ""}, {"text": "template.empty"}),
        ({"subject": "{{ a() }}"}, {"subject": "template.language"}),
        ({"text": "{% include 'x' %}"}, {"text": "template.language"}),
        ({"mjml": MJML.format("{{ name.__class__() }}")}, {"mjml": "template.language"}),
        ({"mjml": "<mjml><mj-body>"}, {"mjml": "template.mjml"}),
        ({"mjml": "<mjml><mj-body><mj-include path='/etc/passwd'/></mj-body></mjml>"}, {"mjml": "template.mjml"}),
        ({"mjml": "<mjml><mj-body>" + "<mj-hero>" * 6_000}, {"mjml": "template.mjml"}),
        ({"mjml": "<mjml><mj-body>" + "<mj-hero>" * 2_000 + "</mj-hero>" * 2_000}, {"mjml": "template.mjml"}),
        ({"mjml": "\0"}, {"mjml": "string.pattern"}),
        ({"mjml": "<p>Hello</p>"}, {"mjml": "string.pattern"}),
        ({"mjml": "<mjml>\0</mjml>"}, {"mjml": "template.mjml"}),
    ],
)  # fmt: skip
def test_a_draft_that_cannot_be_sent_is_refused(
    tenant: Tenant, facts: Mapping[str, str], violations: Mapping[str, str]
) -> None:
    body = {"key": unique("order"), "locale": "en", "subject": "x", "mjml": BODY, **facts}
    refused = tenant.rest.post(TEMPLATES, body)
    assert broken(refused) == violations


@pytest.mark.parametrize(
    ("use", "facts", "violations"),
    [
        ({"values": {"name": "Ada"}}, {}, {"template.values": "template.values"}),
        ({"values": {"name": "Ada", "lines": "Oil"}}, {}, {"template.values": "template.values"}),
        ({"values": {"name": ["Ada"], "lines": []}}, {}, {"template.values": "template.values"}),
        ({"values": {"name": "A" * 300, "lines": []}}, {}, {"template.values": "template.values"}),
        ({"values": {"name": "A\0", "lines": []}}, {}, {"template.values": "template.values"}),
        ({"values": {"name": "", "lines": [1] * 201}}, {}, {"template.values.lines": "template.items"}),
        ({"key": "nowhere"}, {}, {"template.key": "template.known"}),
        ({}, {"subject": "x"}, {"subject": "template.alone"}),
        ({}, {"text": "x", "html": "x"}, {"text": "template.alone", "html": "template.alone"}),
    ],
)
def test_values_that_do_not_fit_are_refused_and_nothing_is_queued(
    tenant: Tenant, use: Mapping[str, Any], facts: Mapping[str, str], violations: Mapping[str, str]
) -> None:
    to = address()
    made = published(tenant.rest)
    refused = send(tenant.rest, {"key": made["key"], **use}, to=to, **facts)
    assert broken(refused) == violations
    assert tenant.rest.get(MESSAGES, {"filter": f'to = "{to}"'}).json()["emailMessages"] == []


def test_a_message_needs_a_subject_and_something_to_read(stack: Stack, tenant: Tenant) -> None:
    refused = tenant.rest.post(MESSAGES, {"to": address()})
    assert broken(refused) == {"subject": "required", "text": "required"}
    to = address()
    html = "<p>Ready, <a href='https://example.com/7'>look</a></p>"
    queued = tenant.rest.post(MESSAGES, {"to": to, "subject": "x", "html": html, "category": "MARKETING"})
    assert queued.status_code == 201, queued.text
    assert queued.json()["text"] == "Ready, look (https://example.com/7)\n"
    (message,) = mailbox_of(stack).wait_for(to)
    body = message.get_body(("html",))
    assert body is not None
    assert body.get_content().startswith(html)
    link = str(message["List-Unsubscribe"]).strip().strip("<>")
    assert f'<a href="{link}">Unsubscribe</a>' in body.get_content()
    assert link in text_of(message)


def test_header_lines_from_values_stay_in_the_subject(stack: Stack, tenant: Tenant) -> None:
    made = published(tenant.rest, subject="For {{ name }}", mjml="", text="x")
    to = address()
    values = {"name": "Ada\r\nBcc: eve@example.com\r\n\r\nHello"}
    assert send(tenant.rest, {"key": made["key"], "values": values}, to=to).status_code == 201
    (message,) = mailbox_of(stack).wait_for(to)
    assert message["Subject"] == "For Ada Bcc: eve@example.com Hello"
    assert message["Bcc"] is None


def test_those_who_send_read_templates_and_do_not_write_them(stack: Stack, tenant: Tenant) -> None:
    made = published(tenant.rest)
    _, session = new_member(tenant, "employee")
    employee = Rest(stack, session.access_token)
    assert send(employee, {"key": made["key"]}).status_code == 201
    assert employee.get(f"{TEMPLATES}/{made['id']}").status_code == 200
    assert employee.patch(f"{TEMPLATES}/{made['id']}", {"subject": "x"}).status_code == 403
    assert employee.post(f"{TEMPLATES}/{made['id']}/publish", {}).status_code == 403
    other = new_tenant(stack)
    assert broken(send(other.rest, {"key": made["key"]})) == {"template.key": "template.known"}
    assert other.rest.get(f"{TEMPLATES}/{made['id']}/versions").status_code == 404


def test_a_deleted_template_takes_its_versions_along_and_leaves_messages(tenant: Tenant) -> None:
    made = published(tenant.rest)
    queued = send(tenant.rest, {"key": made["key"]}).json()
    assert tenant.rest.delete(f"{TEMPLATES}/{made['id']}").status_code == 204
    assert tenant.rest.get(f"{TEMPLATES}/{made['id']}/versions").status_code == 404
    assert tenant.rest.get(f"{MESSAGES}/{queued['id']}").json()["html"] == queued["html"] != ""
    assert broken(send(tenant.rest, {"key": made["key"]})) == {"template.key": "template.known"}
