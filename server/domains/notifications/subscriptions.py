"""Push targets of devices, as they are stored. They are sealed, because a target is all that a sender needs."""

import base64
import hashlib
import json
from dataclasses import dataclass

from server.domains.notifications.tables import notification_devices
from server.domains.notifications.web_push import Subscription
from server.kernel.resealing import SealedColumns
from server.kernel.sealing import SealedBox
from server.secrets import Secrets

PURPOSE = "push subscription"
WEB_PUSH, FCM = "web_push", "fcm"
SEALED = SealedColumns(table=notification_devices, columns=("subscription",), row_id="id")


def box_of(secrets: Secrets) -> SealedBox:
    """What seals them."""
    return SealedBox(secrets, PURPOSE)


@dataclass(frozen=True, slots=True)
class FcmToken:
    """What Firebase has given an app."""

    token: str


Target = Subscription | FcmToken
"""Where a device gets messages from."""


def seal(box: SealedBox, target: Target, device_id: str) -> bytes:
    """A target as it is stored."""
    if isinstance(target, FcmToken):
        parts = [FCM, target.token]
    else:
        keys = (base64.b64encode(part).decode() for part in (target.p256dh, target.auth))
        parts = [WEB_PUSH, target.endpoint, *keys, target.public_key]
    return box.seal(json.dumps(parts).encode(), device_id)


def unseal(box: SealedBox, sealed: bytes, device_id: str) -> Target:
    """The target of a device. Raises UnknownKey and InvalidTag."""
    kind, *parts = json.loads(box.open(sealed, device_id))
    if kind == FCM:
        return FcmToken(*parts)
    endpoint, point, auth, public_key = parts
    return Subscription(endpoint, base64.b64decode(point), base64.b64decode(auth), public_key)


def name_of(target: Target) -> str:
    """What a target is recognised by."""
    return f"{FCM}:{target.token}" if isinstance(target, FcmToken) else target.endpoint


def hash_of(target: Target) -> bytes:
    """The hash by which it is found."""
    return hashlib.sha256(name_of(target).encode()).digest()
