"""A courier who sends parcels: a provider for tests, from its double to the client of a domain."""

import json
import os
import ssl
from typing import Any

from server.kernel.providers import (
    Intent,
    NotSent,
    Outcome,
    Provider,
    ProviderAnswer,
    ProviderPort,
    ProviderRequest,
    ask,
)
from tests.providers.double import Double, Received, Reply

TOKEN = "courier-secret-token"
NOWHERE = "nowhere"
URL = "COURIER_URL"
DEADLINE = 2.0

COURIER = Provider(
    name="courier",
    base_url=lambda _: os.environ.get(URL),
    setting="PLINTH_COURIER_URL",
    deadline=DEADLINE,
    connections=8,
    most_bytes=4096,
)


class Courier(Double):
    """The double. Each parcel that it sends is an effect."""

    def __init__(self, *, ignores_keys: bool = False, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(TOKEN, ignores_keys=ignores_keys, tls=tls)
        self.sent: list[dict[str, str]] = []

    def reply(self, request: Received) -> Reply:
        if request.method == "GET":
            return Reply.of(200, {"parcels": self.of(request.query.get("reference", ""))})
        if request.json["to"] == NOWHERE:
            return Reply.of(422, {"code": "no_such_address", "message": f"{TOKEN} has no such address"})
        parcel = {"id": f"parcel-{len(self.sent) + 1}", "reference": request.json["reference"]}
        self.sent.append(parcel)
        return Reply.of(201, parcel)

    def of(self, reference: str) -> list[dict[str, str]]:
        """What was sent under a reference."""
        return [parcel for parcel in self.sent if parcel["reference"] == reference]


class CourierClient:
    """The client, as a domain writes one."""

    def __init__(self, port: ProviderPort) -> None:
        self._port = port

    def send(self, intent: Intent) -> Outcome:
        """Send a parcel."""
        body = {"reference": intent.reference, "to": intent.arguments["to"]}
        answer = self._port.send(posting(body, intent.reference))
        if answer.is_success:
            return Outcome.done(number=_json(answer)["id"])
        code = _json(answer).get("code", "")
        return Outcome.of_failure(COURIER, answer, code)

    def find(self, intent: Intent) -> Outcome | None:
        """What has become of a parcel."""
        parcels = _json(ask(self._port, finding(intent.reference)))["parcels"]
        return Outcome.done(number=parcels[0]["id"]) if parcels else None


def posting(body: dict[str, Any], key: str = "", **changes: Any) -> ProviderRequest:
    """The request that sends a parcel."""
    given: dict[str, Any] = {
        "operation": "parcels.send",
        "method": "POST",
        "path": "/parcels",
        "headers": {"authorization": f"Bearer {TOKEN}"} | ({"idempotency-key": key} if key else {}),
        "body": json.dumps(body).encode(),
        **changes,
    }
    return ProviderRequest(**given)


def finding(reference: str, **changes: Any) -> ProviderRequest:
    """The request that looks a parcel up."""
    given: dict[str, Any] = {
        "operation": "parcels.find",
        "method": "GET",
        "path": "/parcels",
        "query": {"reference": reference},
        "headers": {"authorization": f"Bearer {TOKEN}"},
        "is_safe": True,
        **changes,
    }
    return ProviderRequest(**given)


def _json(answer: ProviderAnswer) -> Any:
    return json.loads(answer.body)


__all__ = ["COURIER", "Courier", "CourierClient", "NotSent"]
