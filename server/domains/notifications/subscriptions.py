"""Subscriptions of browsers, as they are stored: sealed, since whoever has one can push to the device."""

import base64
import hashlib
import json

from server.domains.notifications.tables import notification_devices
from server.domains.notifications.web_push import Subscription
from server.kernel.resealing import SealedColumns
from server.kernel.sealing import SealedBox
from server.secrets import Secrets

PURPOSE = "push subscription"
SEALED = SealedColumns(table=notification_devices, columns=("subscription",), row_id="id")


def box_of(secrets: Secrets) -> SealedBox:
    """What seals them."""
    return SealedBox(secrets, PURPOSE)


def seal(box: SealedBox, subscription: Subscription, device_id: str) -> bytes:
    """A subscription as it is stored."""
    parts = [
        subscription.endpoint,
        *(base64.b64encode(part).decode() for part in (subscription.p256dh, subscription.auth)),
        subscription.public_key,
    ]
    return box.seal(json.dumps(parts).encode(), device_id)


def unseal(box: SealedBox, sealed: bytes, device_id: str) -> Subscription:
    """The subscription of a device. Raises UnknownKey and InvalidTag."""
    endpoint, point, auth, public_key = json.loads(box.open(sealed, device_id))
    return Subscription(endpoint, base64.b64decode(point), base64.b64decode(auth), public_key)


def hash_of(endpoint: str) -> bytes:
    """What an endpoint is recognised by."""
    return hashlib.sha256(endpoint.encode()).digest()
