"""Start work that takes long, and wait for it: the events of pages are sent to a webhook again."""

import os

from google.protobuf.timestamp_pb2 import Timestamp
from plinth.client import OperationFailed, Plinth
from plinth.identity.v1.auth_pb2 import GetCurrentUserRequest
from plinth.operations.v1.operation_pb2 import Operation
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page
from plinth.webhooks.v1.webhook_pb2 import (
    CreateWebhookRequest,
    DeleteWebhookRequest,
    ReplayWebhookEventsRequest,
    Webhook,
)

HOOK = os.environ.get("HOOK_URL", "https://example.com/hook")


def show(operation: Operation) -> None:
    """Called after each change."""
    print(f"{operation.done} of {operation.total}")


with Plinth(
    os.environ["PLINTH_URL"], email=os.environ["PLINTH_EMAIL"], password=os.environ["PLINTH_PASSWORD"]
) as client:
    tenant_id = client.auth.get_current_user(GetCurrentUserRequest()).tenant_id
    client.pages.create_page(CreatePageRequest(tenant_id=tenant_id, page=Page(title="News")))
    hook = Webhook(url=HOOK, event_types=["page.*"])
    webhook = client.webhooks.create_webhook(CreateWebhookRequest(tenant_id=tenant_id, webhook=hook))
    replay = client.webhooks.replay_webhook_events(
        ReplayWebhookEventsRequest(tenant_id=tenant_id, webhook_id=webhook.id, start_time=Timestamp(seconds=1))
    )
    try:
        print(f"sent again: {dict(client.wait(replay.operation_id, progress=show).result)}")
    except OperationFailed as failed:
        print(f"failed: {failed.error.reason}")
    client.webhooks.delete_webhook(DeleteWebhookRequest(tenant_id=tenant_id, webhook_id=webhook.id))
