"""Notifications by mail: they reach the queue of mail once, one by one or as a digest."""

from typing import Any

import pytest

from tests.clients import Tenant, new_tenant, rows
from tests.domains.notifications.instances import sent
from tests.domains.notifications.test_push import deliveries, ended, let_it_be_due
from tests.stack import Stack, wait_for

PATH = "/api/v1/notifications"
BY_MAIL = {"scope": "SCOPE_ALL", "channel": "NOTIFICATION_CHANNEL_EMAIL", "enabled": True}


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    """Its owner has proven that the address is theirs."""
    tenant = new_tenant(stack)
    rows(stack, "UPDATE users SET email_verify_time = now() WHERE id = %s RETURNING id", tenant.owner.id)
    return tenant


def choose(tenant: Tenant, **preferences: Any) -> None:
    assert tenant.rest.put(f"{PATH}/preferences", preferences).status_code == 200


def mails(tenant: Tenant) -> list[dict[str, Any]]:
    """What is in the queue of mail for the owner, the oldest first."""
    query = 'SELECT subject, text FROM email_messages WHERE tenant_id = %s AND "to" = %s ORDER BY id'
    return rows(tenant.stack, query, tenant.id, tenant.owner.email)


def test_mail_is_sent_of_what_matters_and_of_what_the_person_wants(tenant: Tenant) -> None:
    assert sent(tenant)["channels"] == ["NOTIFICATION_CHANNEL_IN_APP"]
    alert = sent(tenant, workflow="alert", title="Down", body="The shop does not answer.", url="https://a.example/x")
    assert alert["channels"] == ["NOTIFICATION_CHANNEL_IN_APP", "NOTIFICATION_CHANNEL_EMAIL"]
    [delivery] = ended(tenant, "SENT")
    assert (delivery["channel"], delivery["notificationId"]) == ("NOTIFICATION_CHANNEL_EMAIL", alert["notificationId"])
    text = "Down\n\nThe shop does not answer.\n\nhttps://a.example/x"
    assert mails(tenant) == [{"subject": "Down", "text": text}]
    choose(tenant, rules=[BY_MAIL])
    assert "NOTIFICATION_CHANNEL_EMAIL" in sent(tenant)["channels"]
    choose(tenant, rules=[BY_MAIL | {"enabled": False}])
    assert sent(tenant, workflow="alert")["channels"] == ["NOTIFICATION_CHANNEL_IN_APP"]


def test_who_has_no_proven_address_gets_no_mail(stack: Stack) -> None:
    tenant = new_tenant(stack)
    choose(tenant, rules=[BY_MAIL, {"scope": "SCOPE_ALL", "channel": "NOTIFICATION_CHANNEL_IN_APP"}])
    outcome = sent(tenant)
    assert (outcome["isTold"], outcome["reason"]) == (False, "UNREACHABLE")
    reasons = tenant.rest.get(f"{PATH}/{outcome['notificationId']}/explain").json()["reasons"]
    assert ("reachability", "EMAIL", "UNREACHABLE") in [
        (each["step"], each.get("value"), each["code"]) for each in reasons
    ]


def test_what_is_not_in_the_inbox_comes_by_mail_and_once(tenant: Tenant) -> None:
    choose(tenant, rules=[BY_MAIL, {"scope": "SCOPE_ALL", "channel": "NOTIFICATION_CHANNEL_IN_APP"}])
    outcome = sent(tenant, dedupeKey="k", title="By mail")
    assert outcome["channels"] == ["NOTIFICATION_CHANNEL_EMAIL"]
    assert tenant.rest.get(f"{PATH}/{outcome['notificationId']}").status_code == 404
    again = sent(tenant, dedupeKey="k")
    assert (again["isTold"], again["reason"], again.get("channels", [])) == (False, "TOLD_BEFORE", [])
    ended(tenant, "SENT")
    assert [mail["subject"] for mail in mails(tenant)] == ["By mail"]


def test_a_digest_comes_as_one_mail_and_what_is_urgent_does_not_wait(tenant: Tenant) -> None:
    choose(tenant, rules=[BY_MAIL], emailDigest={"frequency": "FREQUENCY_DAILY", "hour": 8})
    for number in range(3):
        sent(tenant, title=f"Number {number}", body="")
    assert [each["reason"] for each in deliveries(tenant)] == ["DIGEST"] * 3
    assert len({each["nextAttemptTime"] for each in deliveries(tenant)}) == 1
    sent(tenant, title="Now", priority="PRIORITY_HIGH")
    ended(tenant, "SENT")
    assert [mail["subject"] for mail in mails(tenant)] == ["Now"]
    let_it_be_due(tenant)
    ended(tenant, "SENT", 2)
    ended(tenant, "MERGED", 2)
    assert mails(tenant)[1:] == [
        {"subject": "Number 2 (+2)", "text": "Number 2 (+2)\n\nNumber 1\nNumber 0"},
    ]


def test_one_that_waited_alone_comes_as_it_is(tenant: Tenant) -> None:
    choose(tenant, rules=[BY_MAIL], emailDigest={"frequency": "FREQUENCY_HOURLY"})
    sent(tenant, title="Alone", body="")
    let_it_be_due(tenant)
    ended(tenant, "SENT")
    assert [mail["subject"] for mail in mails(tenant)] == ["Alone"]


def test_mail_that_a_lost_worker_had_claimed_is_handed_over_once(tenant: Tenant) -> None:
    choose(tenant, rules=[BY_MAIL], emailDigest={"frequency": "FREQUENCY_DAILY"})
    sent(tenant, title="Lost")
    lost = "UPDATE notification_deliveries SET state = 3, lease_time = now(), next_attempt_time = now() "
    rows(tenant.stack, f"{lost} WHERE tenant_id = %s RETURNING id", tenant.id)
    ended(tenant, "SENT")
    wait_for(lambda: len(mails(tenant)) == 1, what="the mail")
