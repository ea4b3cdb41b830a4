"""What became of notifications by mail and push. The kernel reads it; workers write it."""

from plinth.notifications.v1 import notification_delivery_pb2
from plinth.notifications.v1.notification_delivery_pb2 import NotificationDelivery

from server.domains.notifications.tables import notification_deliveries
from server.kernel.resources import Resource, Service

DELIVERY = Resource(
    NotificationDelivery,
    notification_deliveries,
    filterable=("id", "notification_id", "channel", "state", "workflow", "create_time", "update_time"),
    sortable=("create_time",),
    owner="user_id",
    seen_by="notifications.deliveries.manage",
)


class NotificationDeliveryService(Service[NotificationDelivery]):
    """Deliveries."""

    descriptor = notification_delivery_pb2.DESCRIPTOR.services_by_name["NotificationDeliveryService"]
    resource = DELIVERY
