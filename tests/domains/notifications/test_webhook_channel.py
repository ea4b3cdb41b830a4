"""Webhooks get notifications of people if they name them, and not with everything else."""

from tests.clients import new_tenant
from tests.domains.notifications.instances import sent
from tests.domains.webhooks.receiver import Receiver
from tests.stack import Stack, wait_for


def test_a_webhook_gets_notifications_that_it_names(stack: Stack) -> None:
    tenant = new_tenant(stack)
    with Receiver() as receiver:
        for path, types in (("/named", ["notification.created"]), ("/all", ["*"])):
            body = {"url": receiver.url(path), "eventTypes": types}
            assert tenant.rest.post(f"{tenant.path}/webhooks", body).status_code == 201
        told = sent(tenant, title="Ready")
        assert tenant.rest.post(f"{tenant.path}/pages", {"title": "Page"}).status_code == 201
        wait_for(lambda: receiver.messages("/named"), what="the notification")
        # What happens afterwards has come, and the notification has not.
        wait_for(
            lambda: "page.created" in [each.content["type"] for each in receiver.messages("/all")], what="the page"
        )
        [message] = receiver.messages("/named")
        assert (message.content["type"], message.subject) == ("notification.created", told["notificationId"])
        assert "notification.created" not in [each.content["type"] for each in receiver.messages("/all")]
