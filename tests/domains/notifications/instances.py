"""How notifications are made and changed."""

from datetime import UTC, datetime, timedelta
from typing import Any

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
        "user_ids": [tenant.owner.id]
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


INSTANCES = {
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
)
