"""Addresses that get no mail: by bounces, by hand, and by what their owners say."""

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from tests.clients import Rest, Tenant, database, new_member, new_tenant, problem, reason
from tests.domains.communication.test_mail import in_status, queue, read
from tests.domains.events import events_of
from tests.mailbox import address, mailbox_of, text_of
from tests.stack import Stack

PATH = "/api/v1/email/suppressions"
MESSAGES = "/api/v1/email/messages"
MARKETING, TRANSACTIONAL = "EMAIL_CATEGORY_MARKETING", "EMAIL_CATEGORY_TRANSACTIONAL"


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def of(tenant: Tenant, to: str) -> list[dict[str, Any]]:
    """The suppressions of an address."""
    found: list[dict[str, Any]] = tenant.rest.get(PATH, {"filter": f'address = "{to}"'}).json()["emailSuppressions"]
    return found


def suppress(tenant: Tenant, to: str, **facts: Any) -> dict[str, Any]:
    answer = tenant.rest.post(PATH, {"address": to, **facts})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def link_of(message: EmailMessage) -> str:
    """The path that unsubscribes."""
    written = str(message["List-Unsubscribe"])
    return "/api/v1/unsubscribe/" + written.rpartition("/")[2].rstrip(">")


def test_an_address_that_does_not_exist_gets_nothing_more_for_a_while(stack: Stack, tenant: Tenant) -> None:
    to = address("rcpt-550-5.1.1-")
    bounced = in_status(tenant, queue(tenant, to), "STATUS_BOUNCED")
    (made,) = of(tenant, to)
    assert (made["reason"], made["emailMessageId"]) == ("REASON_BOUNCED", bounced["id"])
    assert made.get("category", "EMAIL_CATEGORY_UNSPECIFIED") == "EMAIL_CATEGORY_UNSPECIFIED"
    left = datetime.fromisoformat(made["expireTime"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    in_status(tenant, queue(tenant, to.upper()), "STATUS_SUPPRESSED")
    second = in_status(tenant, queue(tenant, to), "STATUS_SUPPRESSED")
    assert (second["lastAnswer"], second["attempts"]) == ("its address is suppressed: bounced", 0)
    told = [(event.type, event.resource_id) for event in events_of(stack, tenant.id)]
    assert ("email_suppression.created", made["id"]) in told
    assert ("email_message.suppressed", second["id"]) in told
    assert tenant.rest.delete(f"{PATH}/{made['id']}").status_code == 204
    assert tenant.rest.post(f"{MESSAGES}/{second['id']}/retry", {}).status_code == 200
    in_status(tenant, second, "STATUS_BOUNCED")
    assert len(of(tenant, to)) == 1


def test_a_refusal_by_policy_suppresses_nobody(tenant: Tenant) -> None:
    to = address("data-554-5.7.1-")
    in_status(tenant, queue(tenant, to), "STATUS_FAILED")
    assert of(tenant, to) == []


def test_suppressions_by_hand(stack: Stack, tenant: Tenant) -> None:
    to = address()
    made = suppress(tenant, to.upper(), category=MARKETING)
    assert made["reason"] == "REASON_MANUAL"
    assert reason(tenant.rest.post(PATH, {"address": to, "category": MARKETING}))[0] == 409
    in_status(tenant, queue(tenant, to, category=MARKETING), "STATUS_SUPPRESSED")
    in_status(tenant, queue(tenant, to), "STATUS_ACCEPTED")
    suppress(tenant, to)
    in_status(tenant, queue(tenant, to), "STATUS_SUPPRESSED")
    # Another tenant's mail is none of its business.
    other = new_tenant(stack)
    in_status(other, queue(other, to), "STATUS_ACCEPTED")
    assert of(other, to) == []
    assert other.rest.get(f"{PATH}/{made['id']}").status_code == 404


def test_one_that_is_over_keeps_nothing_back(stack: Stack, tenant: Tenant) -> None:
    to = address()
    past = tenant.rest.post(PATH, {"address": to, "expireTime": "2026-01-01T00:00:00Z"})
    assert problem(past).rules == ("suppression.over",)
    made = suppress(tenant, to, expireTime=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    in_status(tenant, queue(tenant, to), "STATUS_SUPPRESSED")
    with database(stack) as connection:
        connection.execute("UPDATE email_suppressions SET expire_time = now() WHERE id = %s", (made["id"],))
    in_status(tenant, queue(tenant, to), "STATUS_ACCEPTED")


def test_who_may_see_and_change_them(stack: Stack, tenant: Tenant) -> None:
    viewer = Rest(stack, new_member(tenant, "viewer")[1].access_token)
    assert viewer.get(PATH).status_code == 403
    employee = Rest(stack, new_member(tenant, "employee")[1].access_token)
    assert employee.post(PATH, {"address": address()}).status_code == 403


def test_marketing_bears_the_headers_of_one_click_and_other_mail_does_not(stack: Stack, tenant: Tenant) -> None:
    to = address()
    queue(tenant, to, category=MARKETING, text="Half price until six.")
    (message,) = mailbox_of(stack).wait_for(to)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    written = str(message["List-Unsubscribe"]).strip()
    assert written == f"<{stack.url}{link_of(message)}>"
    assert f"Unsubscribe: {written.strip('<>')}" in text_of(message)
    html = message.get_body(("html",))
    assert html is not None
    assert f'<a href="{written.strip("<>")}">' in html.get_content()
    queue(tenant, to)
    _, other = mailbox_of(stack).wait_for(to, 2)
    assert other["List-Unsubscribe"] is None
    assert "nsubscribe" not in text_of(other)


def test_unsubscribing_by_one_click_and_by_the_page(stack: Stack, tenant: Tenant) -> None:
    to, stranger = address(), Rest(stack)
    queue(tenant, to, category=MARKETING)
    (message,) = mailbox_of(stack).wait_for(to)
    link = link_of(message)
    page = stranger.get(link)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert '<form method="post">' in page.text
    # The link may have been passed on.
    assert to not in page.text
    assert f"{to[0]}…@example.com" in page.text
    assert of(tenant, to) == []
    form = {"content-type": "application/x-www-form-urlencoded", "origin": stack.url}
    for _ in range(2):
        done = stranger.request("POST", link, headers=form, content="List-Unsubscribe=One-Click")
        assert done.status_code == 200, done.text
        assert "sends no more offers" in done.text
    (made,) = of(tenant, to)
    assert (made["reason"], made["category"]) == ("REASON_UNSUBSCRIBED", MARKETING)
    assert "expireTime" not in made
    assert [event.resource_id for event in events_of(stack, tenant.id)].count(made["id"]) == 1
    in_status(tenant, queue(tenant, to, category=MARKETING), "STATUS_SUPPRESSED")
    in_status(tenant, queue(tenant, to), "STATUS_ACCEPTED")


def test_a_link_of_no_message_leads_to_a_page_that_says_so(stack: Stack) -> None:
    link = "/api/v1/unsubscribe/" + "a" * 26
    form = {"content-type": "application/x-www-form-urlencoded"}
    for answer in (Rest(stack).get(link), Rest(stack).request("POST", link, headers=form, content="x=1")):
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "too old" in answer.text


def test_the_name_of_a_tenant_is_text_on_the_page(stack: Stack) -> None:
    tenant, to = new_tenant(stack), address()
    assert tenant.rest.patch(tenant.path, {"name": "<script>alert(1)</script>"}).status_code == 200
    queue(tenant, to, category=MARKETING)
    (message,) = mailbox_of(stack).wait_for(to)
    page = Rest(stack).get(link_of(message)).text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_marketing_whose_outcome_is_unknown_is_not_tried_again(tenant: Tenant) -> None:
    message = in_status(tenant, queue(tenant, address("drop-250-2.0.0-"), category=MARKETING), "STATUS_UNCERTAIN")
    assert "nextAttemptTime" not in read(tenant, message)
