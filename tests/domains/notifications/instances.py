"""How notifications are made and changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from server.domains.notifications.vapid import public_text
from server.kernel.ids import new_id
from tests.clients import Tenant, unique
from tests.contract.instances import MARK, Instance, Mutation, Named, made


def new_message(title: str = "") -> dict[str, Any]:
    """The JSON of what people are told."""
    return {"title": title or unique("Planted"), "groupKey": "planted", "data": {"n": 1}}


def sent(tenant: Tenant, user_id: str = "", **message: Any) -> dict[str, Any]:
    """What came of a message to the owner, or to somebody else."""
    body = {"userIds": [user_id or tenant.owner.id], "message": new_message() | message}
    [outcome] = made(tenant, "/api/v1/notifications", body)["outcomes"]
    answer: dict[str, Any] = outcome
    return answer


def _notification(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next, and two that are archived."""
    outcomes = [sent(tenant, title=f"{MARK}-{tenant.subdomain}") for _ in range(4)]
    for outcome in outcomes[2:]:
        path = f"/api/v1/notifications/{outcome['notificationId']}/archive"
        assert tenant.rest.post(path, {}).status_code == 200
    notification = tenant.rest.get(f"/api/v1/notifications/{outcomes[0]['notificationId']}").json()
    return {"notification_id": notification["id"], "user_id": tenant.owner.id, "etag": notification["etag"]} | {
        "user_ids": [tenant.owner.id],
        "metric": "total",
        "roles": ["owner"],
    }


def _preferences(tenant: Tenant) -> Named:
    answer = tenant.rest.put("/api/v1/notifications/preferences", new_preferences()).json()
    return {"user_id": answer["userId"], "etag": answer["etag"]}


def new_schedule() -> dict[str, Any]:
    """The JSON of a message to nobody in particular, next year."""
    return {"userIds": [new_id()], "message": new_message(), "sendTime": next_year()}


def next_year() -> str:
    """A year from now."""
    return (datetime.now(UTC) + timedelta(days=365)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _schedule(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next."""
    schedule, _ = (made(tenant, "/api/v1/notifications/schedule", new_schedule()) for _ in range(2))
    return {"notification_schedule_id": schedule["id"], "etag": schedule["etag"]}


def new_preferences() -> dict[str, Any]:
    """The JSON of a choice."""
    return {"rules": [{"scope": "SCOPE_GROUP", "key": unique("muted")}]}


def _something_new(sweep: Any) -> dict[str, Any]:
    """Nothing, once there is something to mark."""
    sent(sweep.tenant)
    return {}


def new_template(locale: str = "de") -> dict[str, Any]:
    """The JSON of a template."""
    return {"key": unique("key"), "locale": locale, "title": f"{{{{ name }}}}, {unique('it')} is ready", "body": "Now."}


def _template(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next."""
    template, _ = (made(tenant, "/api/v1/notifications/templates", new_template("en")) for _ in range(2))
    return {"notification_template_id": template["id"], "etag": template["etag"]}


def new_device(endpoint: str = "") -> dict[str, Any]:
    """The JSON of a browser whose push service is nowhere."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    keys = {"p256dh": public_text(point), "auth": "BTBZMqHH6r4Tts7J_aSIgg"}
    where = endpoint or f"https://push.example.com/send/{unique('device')}"
    return {"displayName": "Phone", "webPush": {"endpoint": where, "keys": keys}}


def _device(tenant: Tenant) -> Named:
    """With a sibling, so that a page of one has a next."""
    device, _ = (made(tenant, "/api/v1/notifications/devices", new_device()) for _ in range(2))
    return {"notification_device_id": device["id"], "user_id": tenant.owner.id, "etag": device["etag"]}


def _delivery(tenant: Tenant) -> Named:
    """Two that wait for the end of quiet hours, which last all day."""
    made(tenant, "/api/v1/notifications/devices", new_device())
    quiet = {"quietHours": {"start": "00:00", "end": "00:00", "timeZone": "UTC"}}
    assert tenant.rest.put("/api/v1/notifications/preferences", quiet).status_code == 200
    for _ in range(2):
        sent(tenant)
    [first, *_] = tenant.rest.get("/api/v1/notifications/deliveries").json()["notificationDeliveries"]
    return {"notification_delivery_id": first["id"], "user_id": tenant.owner.id}


INSTANCES = {
    "plinth.notifications.v1.NotificationTemplate": Instance(_template, new_template),
    "plinth.notifications.v1.NotificationDevice": Instance(_device, new_device),
    "plinth.notifications.v1.NotificationDelivery": Instance(_delivery),
    "plinth.notifications.v1.Notification": Instance(_notification),
    "plinth.notifications.v1.NotificationMessage": Instance(lambda _: {}, new_message),
    "plinth.notifications.v1.NotificationSchedule": Instance(_schedule, new_schedule),
    "plinth.notifications.v1.NotificationPreferences": Instance(_preferences, new_preferences),
}
MUTATIONS = (
    Mutation("NotificationSendingService/SendNotification", lambda sweep: {"userIds": [sweep.tenant.owner.id]}),
    Mutation(
        "NotificationSendingService/SendNotificationBatch",
        lambda sweep: {"requests": [{"userIds": [sweep.tenant.owner.id], "message": new_message()}]},
    ),
    Mutation("NotificationSendingService/BroadcastNotification", lambda _: {"message": new_message()}),
    Mutation("NotificationService/MarkNotificationRead"),
    Mutation("NotificationService/MarkNotificationUnread", before="MarkNotificationRead"),
    Mutation("InboxService/MarkAllNotificationsRead", _something_new),
    Mutation("InboxService/MarkAllNotificationsSeen", _something_new),
    Mutation("NotificationService/ConfirmNotificationDelivery"),
    Mutation("NotificationService/ArchiveNotification"),
    Mutation("NotificationService/UnarchiveNotification", before="ArchiveNotification"),
    Mutation("NotificationService/DeleteNotification"),
    Mutation("NotificationScheduleService/CreateNotificationSchedule"),
    Mutation("NotificationScheduleService/DeleteNotificationSchedule"),
    Mutation("NotificationPreferencesService/UpdateNotificationPreferences"),
    Mutation("NotificationTemplateService/CreateNotificationTemplate"),
    Mutation(
        "NotificationTemplateService/UpdateNotificationTemplate", lambda _: {"updateMask": "title"}, mask=("title",)
    ),
    Mutation("NotificationTemplateService/PublishNotificationTemplate"),
    Mutation("NotificationTemplateService/DeleteNotificationTemplate"),
    Mutation("NotificationDeviceService/CreateNotificationDevice"),
    Mutation("NotificationDeviceService/DeleteNotificationDevice"),
)
