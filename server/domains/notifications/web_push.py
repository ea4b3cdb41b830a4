"""Web Push: a message to a browser as it goes over the wire (RFC 8030), encrypted for it alone (RFC 8291)."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from plinth.notifications.v1.notification_pb2 import Notification

from server.domains.notifications.vapid import VapidKeys
from server.kernel.keys import from_text

MOST_BYTES = 2_800
"""Of a message in clear. Services take 3,993, and Firefox on Android about 3,015."""
LONGEST_TTL = timedelta(days=28)
URGENCIES: Mapping[int, str] = {
    Notification.PRIORITY_LOW: "low",
    Notification.PRIORITY_NORMAL: "normal",
    Notification.PRIORITY_HIGH: "high",
    Notification.PRIORITY_CRITICAL: "high",
}
TOPIC_CHARACTERS = 32


class NoSubscription(ValueError):
    """A subscription has an invalid public key."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a browser has got from its push service."""

    endpoint: str
    p256dh: bytes
    auth: bytes
    public_key: str
    """That of ours with which it has subscribed."""

    @classmethod
    def of(cls, endpoint: str, p256dh: str, auth: str, public_key: str) -> "Subscription":
        """From the texts that browsers send. Raises NoSubscription."""
        point, secret = from_text(p256dh.rstrip("=")), from_text(auth.rstrip("="))
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point or b"")
        except ValueError as error:
            raise NoSubscription from error
        return cls(endpoint, point or b"", secret or b"", public_key)


@dataclass(frozen=True, slots=True)
class PushText:
    """What a device shows."""

    notification_id: str
    title: str
    body: str
    url: str
    """A whole address; empty if it leads nowhere."""


@dataclass(frozen=True, slots=True)
class Sendable:
    """A message that is ready to be posted."""

    headers: Mapping[str, str]
    body: bytes


def sendable(
    subscription: Subscription, keys: VapidKeys, text: PushText, priority: int, *, ttl: timedelta, now: datetime
) -> Sendable:
    """The message. A service that has not delivered another one about the same notification replaces it.

    Raises UnknownVapidKey.
    """
    body = http_ece.encrypt(
        payload_of(text),
        salt=os.urandom(16),
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=subscription.p256dh,
        auth_secret=subscription.auth,
        version="aes128gcm",
    )
    headers = {
        "authorization": keys.authorization(subscription.endpoint, subscription.public_key, now),
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
        "ttl": str(int(min(ttl, LONGEST_TTL).total_seconds())),
        "urgency": URGENCIES.get(priority, "normal"),
        "topic": text.notification_id.replace("-", "")[:TOPIC_CHARACTERS],
    }
    return Sendable(headers, body)


def payload_of(text: PushText) -> bytes:
    """The message in clear: JSON as Declarative Web Push has it. Its body is cut where there is no room for it."""
    if len(_json_of(text, "")) > MOST_BYTES:
        # The front end finds it by the id.
        text = replace(text, url="")
    made = _json_of(text, text.body)
    if len(made) <= MOST_BYTES:
        return made
    # The most characters that fit, found by halving: how many bytes one takes depends on what it is.
    fits, too_many = 0, len(text.body)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if len(_json_of(text, f"{text.body[:middle]}…")) <= MOST_BYTES:
            fits = middle
        else:
            too_many = middle
    return _json_of(text, f"{text.body[:fits].rstrip()}…" if fits else "")


def _json_of(text: PushText, body: str) -> bytes:
    shown = {"title": text.title, "body": body, "tag": text.notification_id}
    if text.url:
        shown["navigate"] = text.url
    about = {"web_push": 8030, "notification": shown, "notification_id": text.notification_id}
    return json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()
