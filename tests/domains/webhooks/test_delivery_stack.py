"""Delivery as tenants see it: a real worker, webhooks made over REST, and the delivery log read over REST."""

from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier

from tests.clients import Tenant, new_tenant
from tests.domains.webhooks.receiver import Receiver, Reply
from tests.stack import PATIENCE, Stack, wait_for


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def webhook_at(tenant: Tenant, url: str, *event_types: str) -> dict[str, Any]:
    answer = tenant.rest.post(f"{tenant.path}/webhooks", {"url": url, "eventTypes": list(event_types)})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def deliveries(tenant: Tenant, webhook: dict[str, Any], status: str) -> list[dict[str, Any]]:
    """Those of this status, with their attempts, the latest first."""
    path = f"{tenant.path}/webhooks/{webhook['id']}/deliveries"
    listed = tenant.rest.get(path, {"filter": f'status = "{status}"'}).json().get("webhookDeliveries", [])
    return [tenant.rest.get(f"{path}/{one['id']}").json() for one in listed]


def test_what_happens_to_a_page_arrives_signed_and_in_order(tenant: Tenant, receiver: Receiver) -> None:
    webhook = webhook_at(tenant, receiver.url("/pages"), "page.*")
    pages = [tenant.rest.post(f"{tenant.path}/pages", {"title": f"Page {number}"}).json() for number in range(3)]
    for page in pages:
        tenant.rest.patch(f"{tenant.path}/pages/{page['id']}", {"title": "Changed"})
        last = tenant.rest.post(f"{tenant.path}/pages/{page['id']}/publish", {}).json()
    wait_for(lambda: len(receiver.messages("/pages")) == 9, what="the arrival of all messages")
    for message in receiver.messages("/pages"):
        Verifier(webhook["secret"]).verify(message.body, dict(message.headers))
    for page in pages:
        came = [message.content["type"] for message in receiver.messages("/pages") if message.subject == page["id"]]
        assert came == ["page.created", "page.updated", "page.published"]
    # The resource as REST shows it.
    contents = [message.content for message in receiver.messages("/pages")]
    assert last in [content["data"] for content in contents if content["type"] == "page.published"]
    wait_for(lambda: len(deliveries(tenant, webhook, "STATUS_SUCCEEDED")) == 9, what="the end of all deliveries")


def test_deliveries_are_measured(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    webhook = webhook_at(tenant, receiver.url("/measured"), "page.created")
    tenant.rest.post(f"{tenant.path}/pages", {"title": "News"})
    wait_for(lambda: deliveries(tenant, webhook, "STATUS_SUCCEEDED"), what="the delivery")

    def told() -> str:
        return httpx.get(stack.metrics_url, timeout=PATIENCE).text

    # Those that a worker tells every few seconds may come last.
    gauges = ("\nplinth_webhook_pending", '\nplinth_event_lag_seconds{reader="webhooks"}')
    wait_for(lambda: all(gauge in told() for gauge in gauges), what="the gauges")
    text = told()
    samples = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[:1] != "#"}
    assert samples['plinth_webhook_attempts_total{outcome="delivered"}'] >= 1
    assert samples["plinth_webhook_attempt_seconds_count"] >= 1
    assert samples["plinth_webhook_delivery_seconds_count"] >= 1
    assert samples["plinth_webhook_pending"] >= 0
    assert samples['plinth_event_lag_seconds{reader="webhooks"}'] >= 0
    assert webhook["id"] not in text


def test_bad_receivers_are_visible_in_the_delivery_log(tenant: Tenant, receiver: Receiver) -> None:
    receiver.behave("/redirects", Reply(307, {"location": "http://10.0.0.1/", "set-cookie": "a=1"}, b"over there"))
    receiver.behave("/gone", Reply(410))
    redirecting = webhook_at(tenant, receiver.url("/redirects"), "branding.updated")
    gone = webhook_at(tenant, receiver.url("/gone"), "branding.updated")
    answer = tenant.rest.put(f"{tenant.path}/branding", {"logoUrl": "https://acme.example/logo.png"})
    assert answer.status_code == 200, answer.text
    wait_for(lambda: deliveries(tenant, gone, "STATUS_FAILED"), what="the failure")
    wait_for(lambda: [one for one in deliveries(tenant, redirecting, "STATUS_PENDING") if one["attempts"]])
    (waiting,) = deliveries(tenant, redirecting, "STATUS_PENDING")
    # There may be more by now: the next one comes after some seconds.
    attempt, *_ = waiting["attemptLog"]
    assert (waiting["lastStatusCode"], waiting["lastError"]) == (307, "status 307")
    assert waiting["nextAttemptTime"] > waiting["attemptLog"][-1]["createTime"]
    assert attempt["responseHeaders"]["location"] == "http://10.0.0.1/"
    assert attempt["responseBody"] == "over there"
    assert "set-cookie" not in attempt["responseHeaders"]
    assert "webhook-signature" not in attempt["requestHeaders"]
    assert tenant.rest.get(f"{tenant.path}/webhooks/{redirecting['id']}").json()["failingSinceTime"]
    state = tenant.rest.get(f"{tenant.path}/webhooks/{gone['id']}").json()
    assert (state["enabled"], state["disableReason"]) == (False, "DISABLE_REASON_GONE")
