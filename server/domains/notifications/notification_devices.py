"""Devices to which notifications are pushed."""

from typing import ClassVar
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from plinth.notifications.v1 import notification_device_pb2
from plinth.notifications.v1.notification_device_pb2 import NotificationDevice, PushKey, WebPushSubscription
from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import LargeBinary, Text

from server.data.statements import Row, Statement
from server.domains.notifications.fcm import FCM
from server.domains.notifications.subscriptions import FcmToken, Target, hash_of, seal, unseal
from server.domains.notifications.tables import notification_devices
from server.domains.notifications.vapid import VapidKeys
from server.domains.notifications.web_push import NoSubscription, Subscription
from server.kernel.call import Call
from server.kernel.egress import Egress
from server.kernel.problems import Violation, broken_rules
from server.kernel.providers import not_configured
from server.kernel.resources import EventFacts, Resource, Service
from server.kernel.sealing import SealedBox, UnknownKey

MOST = 20
"""Of one person."""
FIELD = "notification_device"
FCM_HOST = "fcm.googleapis.com"
_d = notification_devices.c
_id = UUID(as_uuid=False)
_tenant, _user = bindparam("tenant", type_=_id), bindparam("user", type_=_id)
FIND = Statement(
    select(_d.id, _d.user_id, _d.subscription)
    .where(_d.tenant_id == _tenant, _d.endpoint_hash == bindparam("endpoint", type_=LargeBinary()))
    .with_for_update()
)
"""Takes `tenant` and the hash of an `endpoint`."""
_is_one = (_d.tenant_id == _tenant, _d.id == bindparam("device", type_=_id))
_older = (
    select(_d.id)
    .where(_d.tenant_id == _tenant, _d.user_id == _user)
    .order_by(_d.create_time.desc(), _d.id.desc())
    .offset(MOST)
)
DELETED = "notification_device.deleted"


class NotificationDeviceService(Service[NotificationDevice]):
    """Devices."""

    descriptor = notification_device_pb2.DESCRIPTOR.services_by_name["NotificationDeviceService"]
    events: ClassVar = {
        "notification_device.gone": EventFacts(NotificationDevice, "A push service says that a device is gone."),
    }
    resource = Resource(
        NotificationDevice,
        notification_devices,
        filterable=("id", "create_time", "update_time"),
        sortable=("create_time",),
        hidden=("endpoint_hash", "subscription"),
        computed=("web_push", "fcm"),
        owner="user_id",
        seen_by="notifications.devices.manage",
    )

    def __init__(self, box: SealedBox, keys: VapidKeys, egress: Egress, *, has_fcm: bool) -> None:
        super().__init__()
        self._box, self._keys, self._egress, self._has_fcm = box, keys, egress, has_fcm
        columns = self.rows.plan.columns
        self._forget = Statement(delete(notification_devices).where(*_is_one).returning(*columns))
        is_older = (_d.tenant_id == _tenant, _d.id.in_(_older))
        self._keep_newest = Statement(delete(notification_devices).where(*is_older).returning(*columns))
        self._replace = Statement(
            update(notification_devices)
            .where(*_is_one)
            .values(
                subscription=bindparam("sealed", type_=LargeBinary()),
                display_name=bindparam("name", type_=Text()),
                version=_d.version + text("1"),
                update_time=func.now(),
            )
            .returning(*columns)
        )

    def create_notification_device(
        self, call: Call, request: notification_device_pb2.CreateNotificationDeviceRequest
    ) -> NotificationDevice:
        """One with the same endpoint is the same device."""
        owner = self.rows.owner_of_new(call)
        given = request.notification_device
        target = self._target(given)
        found = call.writes.run(FIND, tenant=call.tenant_id, endpoint=hash_of(target)).first()
        if found is not None and found["user_id"] == owner:
            return self._renew(call, found, given, target)
        if found is not None:
            self._remove(call, self._forget, device=found["id"])
        made = self.rows.insert(call, self.rows.copy_of(given))
        self._remove(call, self._keep_newest, user=owner)
        call.audience = owner
        return made

    def prepare(self, call: Call, resource: NotificationDevice, before: NotificationDevice | None) -> None:
        """Show whose service it is, and nothing else of the endpoint."""
        del call, before
        resource.push_service = (
            FCM_HOST if resource.HasField("fcm") else urlsplit(resource.web_push.endpoint).hostname or ""
        )

    def before_write(self, call: Call, values: Row, before: NotificationDevice | None) -> None:
        """Seal the target of a new device."""
        del before
        target = self._target(call.request.notification_device)
        values["subscription"] = seal(self._box, target, str(values["id"]))
        values["endpoint_hash"] = hash_of(target)

    def _remove(self, call: Call, statement: Statement, **which: str) -> None:
        """Remove devices, and tell those whose they were."""
        for device in self.rows.plan.messages(call.writes.run(statement, tenant=call.tenant_id, **which)):
            call.audience = device.user_id
            call.emit(DELETED, device.id, device)

    def _renew(self, call: Call, found: Row, given: NotificationDevice, target: Target) -> NotificationDevice:
        """A front end registers at each start, and mostly what is known."""
        before = self.rows.lock(call, found["id"])
        name = given.display_name or before.display_name
        if name == before.display_name and self._holds(found, target):
            call.changes_nothing = True
            return before
        sealed = seal(self._box, target, before.id)
        result = call.writes.run(self._replace, tenant=call.tenant_id, device=before.id, sealed=sealed, name=name)
        after: NotificationDevice = self.rows.plan.message(result.raw(0))
        call.note_change(before, after)
        return after

    def _holds(self, found: Row, target: Target) -> bool:
        try:
            return unseal(self._box, found["subscription"], found["id"]) == target
        except (UnknownKey, InvalidTag):
            return False

    def _target(self, given: NotificationDevice) -> Target:
        """Where a device gets messages from. Raises RuleViolated, and StateForbids where FCM is not set up."""
        if given.HasField("web_push") == given.HasField("fcm"):
            words = "is required, or `fcm`, and not both"
            raise broken_rules([Violation(f"{FIELD}.web_push", words, "device.one")])
        if not given.HasField("fcm"):
            return self._subscription(given.web_push)
        if not self._has_fcm:
            raise not_configured(FCM.name, FCM.setting)
        return FcmToken(given.fcm.token)

    def _subscription(self, given: WebPushSubscription) -> Subscription:
        fault = self._egress.url_fault(given.endpoint)
        if fault is not None:
            raise broken_rules([Violation(f"{FIELD}.web_push.endpoint", fault, "device.endpoint")])
        try:
            return Subscription.of(given.endpoint, given.keys.p256dh, given.keys.auth, self._keys.current)
        except NoSubscription as error:
            words = "is no point of P-256"
            raise broken_rules([Violation(f"{FIELD}.web_push.keys.p256dh", words, "device.key")]) from error


class PushKeyService(Service):
    """The key of this deployment."""

    descriptor = notification_device_pb2.DESCRIPTOR.services_by_name["PushKeyService"]

    def __init__(self, keys: VapidKeys) -> None:
        super().__init__()
        self._keys = keys

    def get_push_key(self, call: Call, request: notification_device_pb2.GetPushKeyRequest) -> PushKey:
        """What browsers subscribe with."""
        del call, request
        return PushKey(public_key=self._keys.current)
