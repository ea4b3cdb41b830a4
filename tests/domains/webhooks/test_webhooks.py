"""Webhooks over the API: made with a secret that is shown once, changed by their rules, gone when they are deleted."""

from typing import Any

import pytest
from plinth.webhooks.v1.webhook_pb2 import (
    CreateWebhookRequest,
    GetWebhookRequest,
    ListEventTypesRequest,
    UpdateWebhookRequest,
    Webhook,
)

from server import app
from server.domains.webhooks.event_types import EventTypes
from server.kernel.egress import PRIVATE
from server.kernel.ids import new_id
from server.kernel.live import matches
from server.kernel.resources import private_events
from tests.clients import Rest, Tenant, new_member, new_tenant, problem, reason, rows, stubs
from tests.domains.events import events_of
from tests.stack import Stack, wait_for

URL = "https://example.com/hook"


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def path(tenant: Tenant, webhook: dict[str, Any] | None = None, verb: str = "") -> str:
    """Where the webhooks of a tenant are, or one of them."""
    return "/".join(filter(None, (tenant.path, "webhooks", webhook["id"] if webhook else "", verb)))


def make(tenant: Tenant, **facts: Any) -> dict[str, Any]:
    """A new webhook, as the only answer that shows its secret."""
    response = tenant.rest.post(path(tenant), {"url": URL, "eventTypes": ["page.*"], **facts})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def changed(tenant: Tenant, webhook: dict[str, Any], **facts: Any) -> dict[str, Any]:
    response = tenant.rest.patch(path(tenant, webhook), facts)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def got(tenant: Tenant, webhook: dict[str, Any]) -> dict[str, Any]:
    response = tenant.rest.get(path(tenant, webhook))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


# Secrets -------------------------------------------------------------------------------------------------------------


def test_a_shared_secret_is_shown_once(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant, description="Mine")
    assert webhook["secret"].startswith("whsec_")
    assert got(tenant, webhook) == webhook | {"secret": ""}
    assert changed(tenant, webhook, description="Ours")["secret"] == ""
    listed = tenant.rest.get(path(tenant), {"filter": f"id = {webhook['id']}"}).json()["webhooks"]
    assert [one["secret"] for one in listed] == [""]
    stored = rows(stack, "SELECT secret FROM webhooks WHERE id = %s", webhook["id"])[0]["secret"]
    assert webhook["secret"].encode() not in stored


def test_a_public_key_is_always_shown(tenant: Tenant) -> None:
    webhook = make(tenant, signatureScheme="SIGNATURE_SCHEME_ED25519")
    other = make(tenant)
    assert webhook["secret"].startswith("whpk_")
    assert got(tenant, webhook) == webhook
    listed = tenant.rest.get(path(tenant), {"pageSize": 2}).json()["webhooks"]
    assert {one["id"]: one["secret"] for one in listed} == {webhook["id"]: webhook["secret"], other["id"]: ""}


def test_secrets_are_in_no_event_and_no_audit_entry(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant)
    rotated = tenant.rest.post(path(tenant, webhook, "rotate-secret"), {}).json()
    told = [event for event in events_of(stack, tenant.id) if event.resource_id == webhook["id"]]
    assert [event.type for event in told] == ["webhook.created", "webhook.secret_rotated"]
    assert [event.payload.secret for event in told] == ["", ""]
    entries = rows(stack, "SELECT * FROM audit_entries WHERE resource_id = %s", webhook["id"])
    assert {entry["action"]: entry["security"] for entry in entries} == {
        "webhook.created": False,
        "webhook.secret_rotated": True,
    }
    for secret in (webhook["secret"], rotated["secret"]):
        assert secret.removeprefix("whsec_") not in str(entries) + str([event.raw for event in told])


def test_a_rotation_shows_the_new_secret_and_keeps_the_old_one_for_the_overlap(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant)

    def rotate(body: dict[str, Any]) -> dict[str, Any]:
        response = tenant.rest.post(path(tenant, webhook, "rotate-secret"), body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def overlap() -> tuple[float | None, bytes | None]:
        query = """SELECT previous_secret, extract(epoch FROM previous_secret_expire_time - now())::float AS left
                     FROM webhooks WHERE id = %s"""
        row = rows(stack, query, webhook["id"])[0]
        return row["left"], row["previous_secret"]

    first = rotate({})
    left, kept = overlap()
    assert first["secret"] not in ("", webhook["secret"])
    assert first["etag"] != webhook["etag"]
    assert "previousSecretExpireTime" in got(tenant, webhook)
    assert 86_300 < (left or 0) <= 86_400
    # A second one within the overlap replaces the older one.
    rotate({"overlap": "60s"})
    left, second = overlap()
    assert 0 < (left or 0) <= 60
    assert second not in (None, kept)
    last = rotate({"overlap": "0s"})
    assert overlap() == (None, None)
    assert "previousSecretExpireTime" not in last
    assert problem(tenant.rest.post(path(tenant, webhook, "rotate-secret"), {"overlap": "604801s"})).violations


def test_an_overlap_that_is_over_is_not_shown(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant)
    assert tenant.rest.post(path(tenant, webhook, "rotate-secret"), {"overlap": "60s"}).status_code == 200
    query = "UPDATE webhooks SET previous_secret_expire_time = now() WHERE id = %s RETURNING id"
    assert rows(stack, query, webhook["id"])
    assert "previousSecretExpireTime" not in got(tenant, webhook)


# Rules ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "is required"),
        ("ftp://example.com", "does not begin with https:// or http://"),
        ("https://me:word@example.com", "holds a user or a password"),
        ("https://example.com/#top", "has a fragment, which is not sent"),
        ("https:///nowhere", "names no host"),
        ("https://10.1.2.3/", PRIVATE),
        ("https://169.254.169.254/latest", PRIVATE),
        ("https://[::ffff:10.0.0.1]/", PRIVATE),
    ],
)
def test_urls_that_no_webhook_has_are_refused(tenant: Tenant, url: str, fault: str) -> None:
    answer = tenant.rest.post(path(tenant), {"url": url, "eventTypes": ["*"]})
    assert reason(answer) == (422, "RULE_VIOLATED")
    assert problem(answer).violations == {"url": [fault]}


def test_a_private_network_is_refused_with_the_setting_that_allows_it(tenant: Tenant) -> None:
    answer = tenant.rest.post(path(tenant), {"url": "https://192.168.0.7/", "eventTypes": ["*"]})
    (fault,) = problem(answer).violations["url"]
    assert "PLINTH_WEBHOOK_ALLOWED_NETWORKS" in fault
    # Which are allowed is the deployment's business.
    assert "127.0.0.0" not in fault


def test_names_are_not_resolved_when_a_webhook_is_made(tenant: Tenant) -> None:
    assert make(tenant, url="https://nowhere.invalid/")["url"] == "https://nowhere.invalid/"


def test_event_types_that_do_not_exist_are_refused_with_what_was_meant(tenant: Tenant) -> None:
    body = {"url": URL, "eventTypes": ["*", "page.created", "page.create", "pages.*", "role.*", "zzz"]}
    assert problem(tenant.rest.post(path(tenant), body)).violations == {
        "eventTypes[2]": ["is no event type: did you mean `page.created`?"],
        "eventTypes[3]": ["is no event type: did you mean `page.*`?"],
        "eventTypes[5]": ["is no event type"],
    }
    none = problem(tenant.rest.post(path(tenant), {"url": URL}))
    assert none.violations == {"eventTypes": ["names at least one"]}


def test_a_change_is_checked_where_it_changes_something(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant)
    query = "UPDATE webhooks SET url = 'https://10.0.0.1/', event_types = '{old.type}' WHERE id = %s RETURNING id"
    assert rows(stack, query, webhook["id"])
    assert changed(tenant, webhook, description="x")["eventTypes"] == ["old.type"]
    refused = problem(tenant.rest.patch(path(tenant, webhook), {"url": "https://10.0.0.2/", "eventTypes": ["old.*"]}))
    assert refused.violations.keys() == {"url", "eventTypes[0]"}


# Disabling and enabling ----------------------------------------------------------------------------------------------


def test_who_disables_a_webhook_is_told_by_the_webhook(tenant: Tenant) -> None:
    disabled = changed(tenant, make(tenant), enabled=False)
    assert disabled["disableReason"] == "DISABLE_REASON_MANUAL"
    assert disabled["createTime"] < disabled["disableTime"]
    assert changed(tenant, disabled, description="x")["disableTime"] == disabled["disableTime"]
    assert make(tenant, enabled=False)["disableReason"] == "DISABLE_REASON_MANUAL"


def test_enabling_again_forgets_failures_and_lets_what_waits_go_on(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant)
    failing = """
        UPDATE webhooks SET enabled = false, failing_since_time = now(), warn_time = now(), disable_time = now(),
               disable_reason = 1, resume_time = now() WHERE id = %s RETURNING id"""
    assert rows(stack, failing, webhook["id"])
    # The lease is somebody's, so that no engine touches it.
    queue = "INSERT INTO webhook_queues VALUES (%s, %s, 'x', '2999-01-01', '2999-01-01') RETURNING subject"
    assert rows(stack, queue, tenant.id, webhook["id"])
    # Somebody disabled it; what waits for one that was disabled by itself is cancelled.
    assert got(tenant, webhook)["disableReason"] == "DISABLE_REASON_MANUAL"
    enabled = changed(tenant, webhook, enabled=True)
    assert enabled["disableReason"] == "DISABLE_REASON_UNSPECIFIED"
    assert not {"disableTime", "failingSinceTime"} & enabled.keys()
    stored = rows(stack, "SELECT warn_time, resume_time FROM webhooks WHERE id = %s", webhook["id"])
    assert stored == [{"warn_time": None, "resume_time": None}]
    due = "SELECT next_attempt_time <= now() AS due FROM webhook_queues WHERE webhook_id = %s"
    assert rows(stack, due, webhook["id"]) == [{"due": True}]
    assert tenant.rest.delete(path(tenant, webhook)).status_code == 204


def test_cleared_a_webhook_is_enabled(tenant: Tenant) -> None:
    assert changed(tenant, make(tenant, enabled=False), enabled=None)["enabled"] is True


def test_another_url_ends_a_pause_that_the_receiver_asked_for(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant)
    paused = "UPDATE webhooks SET resume_time = '2999-01-01' WHERE id = %s RETURNING id"
    assert rows(stack, paused, webhook["id"])
    resume = "SELECT resume_time IS NULL AS forgotten FROM webhooks WHERE id = %s"
    changed(tenant, webhook, description="x")
    assert rows(stack, resume, webhook["id"]) == [{"forgotten": False}]
    changed(tenant, webhook, url="https://example.com/elsewhere")
    assert rows(stack, resume, webhook["id"]) == [{"forgotten": True}]


# Standard methods ----------------------------------------------------------------------------------------------------


def test_webhooks_work_over_grpc(tenant: Tenant) -> None:
    made = tenant.stubs.webhooks.CreateWebhook(
        CreateWebhookRequest(tenant_id=tenant.id, webhook=Webhook(url=URL, event_types=["page.created"]))
    )
    assert made.enabled
    request = UpdateWebhookRequest(tenant_id=tenant.id, webhook_id=made.id, webhook=Webhook(enabled=False))
    assert tenant.stubs.webhooks.UpdateWebhook(request).disable_reason == Webhook.DISABLE_REASON_MANUAL
    found = tenant.stubs.webhooks.GetWebhook(GetWebhookRequest(tenant_id=tenant.id, webhook_id=made.id))
    assert not found.enabled


def test_webhooks_are_listed_by_what_can_be_filtered(stack: Stack) -> None:
    tenant = new_tenant(stack)
    first, second = make(tenant, url="https://a.example/"), make(tenant, url="https://b.example/", enabled=False)

    def listed(condition: str) -> list[str]:
        answer = tenant.rest.get(path(tenant), {"filter": condition, "includeTotal": True}).json()
        assert answer["totalSize"] == len(answer["webhooks"])
        return [webhook["id"] for webhook in answer["webhooks"]]

    assert listed("") == [second["id"], first["id"]]
    assert listed("enabled = true") == [first["id"]]
    assert listed('url = "https://b*"') == [second["id"]]
    assert listed("disable_time:*") == [second["id"]]


def test_a_deleted_webhook_is_gone_at_once_and_its_deliveries_soon(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant)
    delivery = new_id()
    planted = """
        WITH attempt AS (INSERT INTO webhook_attempts VALUES (%s, %s, 1, now(), 1, 200, '', '{}', '{}', '{}', ''))
        INSERT INTO webhook_deliveries
               (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, kind, status)
        VALUES (%s, %s, %s, gen_random_uuid(), 'page.created', 'x', now(), 1, 2) RETURNING id"""
    assert rows(stack, planted, tenant.id, delivery, tenant.id, delivery, webhook["id"])
    assert tenant.rest.delete(path(tenant, webhook)).status_code == 204
    for verb in ("", "deliveries", f"deliveries/{delivery}"):
        assert tenant.rest.get(path(tenant, webhook, verb)).status_code == 404
    assert tenant.rest.post(path(tenant, webhook, "test"), {}).status_code == 404
    assert tenant.rest.delete(path(tenant, webhook)).status_code == 404
    left = """SELECT id FROM webhooks WHERE id = %s UNION ALL SELECT id FROM webhook_deliveries WHERE webhook_id = %s
              UNION ALL SELECT delivery_id FROM webhook_attempts WHERE delivery_id = %s"""
    wait_for(lambda: not rows(stack, left, webhook["id"], webhook["id"], delivery), what="the removal")
    told = [event for event in events_of(stack, tenant.id) if event.resource_id == webhook["id"]]
    assert [event.type for event in told] == ["webhook.created", "webhook.deleted"]
    assert told[-1].payload.url == URL


def test_only_those_who_manage_a_tenant_see_its_webhooks(stack: Stack, tenant: Tenant) -> None:
    webhook = make(tenant)
    for role, status in (("admin", 200), ("editor", 403), ("viewer", 403)):
        _, session = new_member(tenant, role)
        assert Rest(stack, session.access_token).get(path(tenant, webhook)).status_code == status


# Event types ---------------------------------------------------------------------------------------------------------


def test_anyone_may_read_which_events_there_are(stack: Stack) -> None:
    listed = stubs(stack).webhooks.ListEventTypes(ListEventTypesRequest()).event_types
    by_name = {one.name: one for one in listed}
    assert list(by_name) == sorted(by_name)
    assert all(one.description and one.payload for one in listed)
    assert by_name["page.created"].payload == "plinth.sites.v1.Page"
    assert by_name["page.created"].description.startswith("Creates a page as a draft.")
    assert by_name["page.deleted"].payload == "plinth.sites.v1.Page"
    assert by_name["webhook.tested"].payload == "plinth.webhooks.v1.WebhookDelivery"
    assert by_name["session.refresh_token_reused"].payload == "plinth.identity.v1.User"


def test_what_the_log_holds_is_what_the_catalogue_says(stack: Stack, tenant: Tenant) -> None:
    """Whatever any test has caused so far, but for what is told to nobody's webhooks."""
    make(tenant)
    payloads = {one.name: one.payload for one in EventTypes(app.SERVICES, app.reference().comments).listed}
    private = private_events(app.SERVICES)
    written = rows(stack, "SELECT DISTINCT type, message_type FROM events")
    told = {row["type"]: row["message_type"] for row in written if row["type"] not in private}
    assert len(told) > 3
    assert told.items() <= payloads.items()
    assert not private & payloads.keys()


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (["*"], ["page.created", "page.deleted", "role.created"]),
        (["page.*"], ["page.created", "page.deleted"]),
        (["role.*", "page.created"], ["page.created", "role.created"]),
        (["pag*", "page", "*.created"], []),
    ],
)
def test_patterns_take_everything_or_a_group_or_a_type(patterns: list[str], taken: list[str]) -> None:
    assert [name for name in ("page.created", "page.deleted", "role.created") if matches(patterns, name)] == taken
