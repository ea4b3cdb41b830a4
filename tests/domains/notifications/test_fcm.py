"""Firebase Cloud Messaging: what goes over the wire, and what becomes of a push by the answer, against a double."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from plinth.notifications.v1.notification_pb2 import Notification

from server.adapters.providers.port import HttpProviders
from server.domains.notifications.delivery_queue import FAILED, RETRYING, SENT, UNCERTAIN
from server.domains.notifications.fcm import FCM, Fcm, ServiceAccount
from server.domains.notifications.push_outcomes import Verdict
from server.domains.notifications.web_push import PushText
from server.settings import Settings
from tests.clients import Rest, new_tenant, problem
from tests.contract.instances import made
from tests.domains.notifications.instances import sent
from tests.domains.notifications.test_push import ended
from tests.providers.double import Double, Fault, Received, Reply
from tests.stack import Stack

PROJECT, CLIENT = "acme-1", "push@acme-1.iam.gserviceaccount.com"
KEY = rsa.generate_private_key(65537, 2048)
TEXT = PushText("01938f2a-7c4e-7b12-9d3a-5e6f70819a2b", "Ready", "Until 18:00.", "https://app.example.com/orders/1")
# What a message may hold (https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages).
MESSAGE = {"token", "notification", "data", "android", "apns"}
ANDROID = {"priority", "ttl", "collapse_key", "notification"}


class FcmDouble(Double):
    """Takes what Google takes, and refuses everything else."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.answers: list[Reply] = []
        self.messages: list[dict[str, Any]] = []

    def reply(self, request: Received) -> Reply:
        return self._grant(request) if request.path == "/token" else self._send(request)

    def _grant(self, request: Received) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        claims = jwt.decode(
            form["assertion"], KEY.public_key(), algorithms=["RS256"], audience=f"{self.url}/token", issuer=CLIENT
        )
        assert claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"
        assert claims["exp"] - claims["iat"] <= 3600
        self.tokens.append(f"access-{len(self.tokens)}")
        return Reply.of(200, {"access_token": self.tokens[-1], "expires_in": 3599, "token_type": "Bearer"})

    def _send(self, request: Received) -> Reply:
        assert (request.method, request.path) == ("POST", f"/v1/projects/{PROJECT}/messages:send")
        if not self.tokens or request.headers["authorization"] != f"Bearer {self.tokens[-1]}":
            return Reply.of(401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}})
        message = request.json["message"]
        assert set(message) <= MESSAGE
        assert set(message["android"]) <= ANDROID
        assert all(isinstance(value, str) for value in message["data"].values())
        if self.answers:
            return self.answers.pop(0)
        self.messages.append(message)
        return Reply.of(200, {"name": f"projects/{PROJECT}/messages/{len(self.messages)}"})


def refusal(status: int, code: str, *fields: str) -> Reply:
    """An error as FCM has it."""
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code},
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": "invalid"} for field in fields],
        },
    ]
    return Reply.of(status, {"error": {"code": status, "status": code, "details": details}})


def account(double: Double) -> dict[str, str]:
    """The file that Google's console gives."""
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "client_email": CLIENT,
        "private_key": pem,
        "token_uri": f"{double.url}/token",
    }


@pytest.fixture
def double() -> Iterator[FcmDouble]:
    with FcmDouble() as double:
        yield double


@pytest.fixture
def fcm(double: FcmDouble, tmp_path: Path) -> Iterator[Fcm]:
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account(double)))
    providers = HttpProviders(Settings(), chance=lambda: 0.0)
    yield Fcm(providers(FCM).at(double.url), ServiceAccount.read(file))
    providers.close()


def send(fcm: Fcm) -> Verdict:
    return fcm.send("device-token", TEXT, Notification.PRIORITY_HIGH, ttl_seconds=86_400)


def test_a_message_is_what_each_platform_takes(fcm: Fcm, double: FcmDouble) -> None:
    assert send(fcm) == Verdict(SENT)
    [message] = double.messages
    assert message["token"] == "device-token"
    assert message["notification"] == {"title": "Ready", "body": "Until 18:00."}
    assert message["data"] == {"notification_id": TEXT.notification_id, "url": TEXT.url}
    assert (message["android"]["priority"], message["android"]["ttl"]) == ("HIGH", "86400s")
    headers = message["apns"]["headers"]
    assert (headers["apns-priority"], headers["apns-collapse-id"]) == ("10", TEXT.notification_id)
    # In seconds since 1970, and not from now.
    assert abs(int(headers["apns-expiration"]) - time.time() - 86_400) < 60
    send(fcm)
    assert len(double.tokens) == 1


def test_a_token_that_was_taken_back_is_replaced(fcm: Fcm, double: FcmDouble) -> None:
    send(fcm)
    double.tokens.append("another")
    assert send(fcm) == Verdict(SENT)
    assert double.tokens[-1] == "access-2"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (refusal(404, "UNREGISTERED"), Verdict(FAILED, "GONE")),
        (refusal(403, "SENDER_ID_MISMATCH"), Verdict(FAILED, "GONE")),
        (refusal(400, "INVALID_ARGUMENT", "message.token"), Verdict(FAILED, "GONE")),
        (refusal(400, "INVALID_ARGUMENT", "message.data"), Verdict(FAILED, "REFUSED")),
        (refusal(400, "INVALID_ARGUMENT", "message.token", "message.data"), Verdict(FAILED, "REFUSED")),
        (refusal(403, "PERMISSION_DENIED"), Verdict(FAILED, "REFUSED")),
        (Reply(404, b"not JSON"), Verdict(FAILED, "REFUSED")),
        (Reply(503, b"", {"retry-after": "30"}), Verdict(RETRYING, retry_after=30.0)),
        (Reply(429), Verdict(RETRYING)),
        (Reply(500), Verdict(RETRYING)),
    ],
)
def test_what_an_answer_says(fcm: Fcm, double: FcmDouble, answer: Reply, verdict: Verdict) -> None:
    double.answers.append(answer)
    assert send(fcm) == verdict


def test_an_answer_that_is_lost_leaves_it_uncertain(fcm: Fcm, double: FcmDouble) -> None:
    send(fcm)
    double.fail(Fault.DROP_AFTER)
    assert send(fcm) == Verdict(UNCERTAIN)
    assert len(double.messages) == 2


def test_who_cannot_be_connected_to_is_asked_again(tmp_path: Path) -> None:
    with FcmDouble() as gone:
        file = tmp_path / "account.json"
        file.write_text(json.dumps(account(gone)))
    providers = HttpProviders(Settings(), chance=lambda: 0.0)
    assert send(Fcm(providers(FCM).at(gone.url), ServiceAccount.read(file))).state == RETRYING
    providers.close()


def test_an_app_is_refused_where_firebase_is_not_set_up(stack: Stack) -> None:
    tenant = new_tenant(stack)
    refused = tenant.rest.post("/api/v1/notifications/devices", {"fcm": {"token": "t"}})
    assert problem(refused).reason == "PROVIDER_NOT_CONFIGURED"
    for body in ({}, {"displayName": "Phone"}):
        assert problem(tenant.rest.post("/api/v1/notifications/devices", body)).rules == ("device.one",)


@pytest.mark.heavy
def test_an_app_shows_what_its_person_is_told(double: FcmDouble, tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account(double)))
    stack = Stack(notification_fcm_credentials_file=str(file), notification_fcm_url=double.url)
    try:
        tenant = new_tenant(stack.start())
        device = made(tenant, "/api/v1/notifications/devices", {"fcm": {"token": "app-1"}, "displayName": "Phone"})
        assert device["pushService"] == "fcm.googleapis.com"
        assert "app-1" not in json.dumps(device)
        sent(tenant, title="Ready")
        ended(tenant, "SENT")
        assert [(each["token"], each["notification"]["title"]) for each in double.messages] == [("app-1", "Ready")]
        double.answers.append(refusal(404, "UNREGISTERED"))
        sent(tenant)
        ended(tenant, "FAILED")
        gone = Rest(stack, tenant.access_token).get(f"/api/v1/notifications/devices/{device['id']}")
        assert gone.status_code == 404
    finally:
        stack.remove()
