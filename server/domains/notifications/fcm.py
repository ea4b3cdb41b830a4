"""Firebase Cloud Messaging, by its HTTP v1 API (https://firebase.google.com/docs/cloud-messaging/send/v1-api).

Apps on Android and iOS that use Firebase register the token that it gives them. A service account of the project signs
an assertion (RFC 7523), for which Google gives an access token of an hour.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from urllib.parse import urlencode, urlsplit

import jwt
from plinth.notifications.v1.notification_pb2 import Notification

from server.domains.notifications.delivery_queue import FAILED, RETRYING, SENT, UNCERTAIN
from server.domains.notifications.push_outcomes import GONE, REFUSED, Verdict
from server.domains.notifications.settings import FCM_SETTING, NotificationSettings
from server.domains.notifications.web_push import PushText
from server.json_values import JsonObject, JsonValue
from server.kernel.problems import Problem
from server.kernel.providers import (
    AnswerLost,
    NotSent,
    Provider,
    ProviderAnswer,
    ProviderPort,
    ProviderRequest,
    Providers,
    problem_of,
    retry_after,
)
from server.settings import Settings

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_SECONDS, SPARE_SECONDS = 3600, 300
UNAUTHORIZED, TOO_MANY = 401, 429
SERVER_ERRORS = 500
# What FCM calls devices that are gone, or that another project has registered.
GONE_CODES = frozenset(("UNREGISTERED", "SENDER_ID_MISMATCH"))
TOKEN_FIELD = "message.token"  # noqa: S105 - the name of a field


class NoCredentials(ValueError):
    """A file holds no service account. The text says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who sends, as Google's console gives it in a file."""

    project_id: str
    client_email: str
    private_key: str = field(repr=False)
    token_uri: str

    @classmethod
    def read(cls, file: Path) -> "ServiceAccount":
        """From a file. Raises NoCredentials, and OSError."""
        try:
            found = json.loads(file.read_text())
            return cls(**{name: str(found[name]) for name in cls.__slots__})
        except (ValueError, KeyError, TypeError) as error:
            raise NoCredentials("is no file of a service account, in JSON") from error


class Fcm:
    """Sends to devices of one project. Every method may block."""

    def __init__(self, port: ProviderPort, account: ServiceAccount) -> None:
        self._port, self._account = port, account
        self._lock = Lock()
        self._token, self._expires = "", 0.0

    def send(self, token: str, text: PushText, priority: int, *, ttl_seconds: int) -> Verdict:
        """Send to the device of a token. Never raises."""
        try:
            answer = self._post(token, text, priority, ttl_seconds)
            if answer.status == UNAUTHORIZED:
                # The access token was taken back before its time.
                self._forget()
                answer = self._post(token, text, priority, ttl_seconds)
        except NotSent as fault:
            return Verdict(RETRYING, retry_after=fault.retry_after or 0.0)
        except AnswerLost:
            return Verdict(UNCERTAIN)
        except Problem:
            # The credentials are refused, or the port is not configured.
            return Verdict(FAILED, REFUSED)
        return _verdict(answer)

    def _post(self, token: str, text: PushText, priority: int, ttl_seconds: int) -> ProviderAnswer:
        return self._port.send(
            ProviderRequest(
                operation="messages.send",
                method="POST",
                path=f"/v1/projects/{self._account.project_id}/messages:send",
                headers={"authorization": f"Bearer {self._access_token()}", "content-type": "application/json"},
                body=json.dumps({"message": message_of(token, text, priority, ttl_seconds)}).encode(),
            )
        )

    def _access_token(self) -> str:
        with self._lock:
            if time.time() >= self._expires:
                self._token, self._expires = self._new_token()
            return self._token

    def _forget(self) -> None:
        with self._lock:
            self._expires = 0.0

    def _new_token(self) -> tuple[str, float]:
        """A token, and the Unix time until which it is used. Raises the Problem of an answer without one."""
        account, now = self._account, int(time.time())
        claims = {
            "iss": account.client_email,
            "scope": SCOPE,
            "aud": account.token_uri,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        assertion = jwt.encode(claims, account.private_key, "RS256")
        parts = urlsplit(account.token_uri)
        answer = self._port.at(f"{parts.scheme}://{parts.netloc}").send(
            ProviderRequest(
                operation="token",
                method="POST",
                path=parts.path or "/",
                headers={"content-type": "application/x-www-form-urlencoded"},
                body=urlencode({"grant_type": GRANT, "assertion": assertion}).encode(),
                is_safe=True,
            )
        )
        problem = problem_of(self._port.provider, answer)
        if problem is not None:
            raise problem
        given = json.loads(answer.body)
        return str(given["access_token"]), time.time() + float(given["expires_in"]) - SPARE_SECONDS


def message_of(token: str, text: PushText, priority: int, ttl_seconds: int) -> JsonObject:
    """The message, as each platform has it. A later one about the same notification replaces one that waits."""
    is_urgent = priority in (Notification.PRIORITY_HIGH, Notification.PRIORITY_CRITICAL)
    data = {"notification_id": text.notification_id, **({"url": text.url} if text.url else {})}
    return {
        "token": token,
        "notification": {"title": text.title, "body": text.body},
        "data": data,
        "android": {
            "priority": "HIGH" if is_urgent else "NORMAL",
            "ttl": f"{ttl_seconds}s",
            "collapse_key": text.notification_id,
            "notification": {"tag": text.notification_id},
        },
        "apns": {
            "headers": {
                "apns-priority": "10" if is_urgent else "5",
                "apns-expiration": str(int(time.time()) + ttl_seconds),
                "apns-collapse-id": text.notification_id,
            }
        },
    }


def _verdict(answer: ProviderAnswer) -> Verdict:
    if answer.is_success:
        return Verdict(SENT)
    if answer.status == TOO_MANY or answer.status >= SERVER_ERRORS:
        return Verdict(RETRYING, retry_after=retry_after(answer) or 0.0)
    codes, fields = _details(answer)
    # A fault of the message is no fault of the device: only one of its token is.
    is_gone = bool(codes & GONE_CODES) or fields == {TOKEN_FIELD}
    return Verdict(FAILED, GONE if is_gone else REFUSED)


def _details(answer: ProviderAnswer) -> tuple[set[str], set[str]]:
    """The codes of FCM in an answer, and the fields that it complains of."""
    codes, fields = set(), set()
    try:
        details: list[Mapping[str, JsonValue]] = json.loads(answer.body)["error"]["details"]
    except (ValueError, KeyError, TypeError):
        return set(), set()
    for detail in details:
        codes.add(str(detail.get("errorCode", "")))
        violations = detail.get("fieldViolations")
        if isinstance(violations, list):
            fields |= {str(each.get("field")) for each in violations if isinstance(each, dict)}
    return codes, fields


def fcm_of(settings: Settings, providers: Providers) -> Fcm | None:
    """Who sends by FCM; None where it is not set up."""
    file = settings.own(NotificationSettings).notification_fcm_credentials_file
    return Fcm(providers(FCM), ServiceAccount.read(file)) if file is not None else None


FCM = Provider(
    name="fcm",
    base_url=lambda settings: settings.own(NotificationSettings).notification_fcm_url,
    setting=FCM_SETTING,
    deadline=10.0,
    most_bytes=1 << 16,
)
