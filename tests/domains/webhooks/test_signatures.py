"""Signatures are those of the Standard Webhooks specification: its libraries' vectors pass, and they verify ours."""

import base64
import time

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from plinth.webhooks.v1.webhook_pb2 import Webhook
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from server.domains.webhooks.secrets import new_secret
from server.domains.webhooks.signatures import headers, shown, sign

HMAC, ED25519 = Webhook.SIGNATURE_SCHEME_HMAC_SHA256, Webhook.SIGNATURE_SCHEME_ED25519
# standard-webhooks/standard-webhooks, libraries/go: TestSymmetricWebhookSign and TestAsymmetricWebhookSign.
MESSAGE, MOMENT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SHARED = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
SHARED_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PRIVATE = base64.b64decode("VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=")
PRIVATE_SIGNATURE = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="


@pytest.mark.parametrize(
    ("scheme", "secret", "expected"),
    [
        (HMAC, SHARED, SHARED_SIGNATURE),
        (Webhook.SIGNATURE_SCHEME_UNSPECIFIED, SHARED, SHARED_SIGNATURE),
        (ED25519, PRIVATE, PRIVATE_SIGNATURE),
    ],
)
def test_the_vectors_of_the_specification_pass(scheme: int, secret: bytes, expected: str) -> None:
    assert sign(scheme, [secret], MESSAGE, MOMENT, BODY) == expected


def test_a_message_is_signed_with_both_secrets_the_new_one_first() -> None:
    other = new_secret()
    assert sign(HMAC, [SHARED, other], MESSAGE, MOMENT, BODY).split() == [
        SHARED_SIGNATURE,
        sign(HMAC, [other], MESSAGE, MOMENT, BODY),
    ]


@pytest.mark.parametrize("place", [0, 1])
def test_a_receiver_with_either_secret_takes_a_message(place: int) -> None:
    """By the specification's own library, with the secret as it is shown."""
    secrets, body = [new_secret(), new_secret()], '{"title": "Grüße ☃"}'.encode()
    sent = headers(HMAC, secrets, MESSAGE, int(time.time()), body)
    assert Receiver(shown(HMAC, secrets[place])).verify(body, sent) == {"title": "Grüße ☃"}
    with pytest.raises(WebhookVerificationError):
        Receiver(shown(HMAC, new_secret())).verify(body, sent)
    with pytest.raises(WebhookVerificationError):
        Receiver(shown(HMAC, secrets[place])).verify(body, sent | {"webhook-id": "msg_another"})
    with pytest.raises(WebhookVerificationError):
        Receiver(shown(HMAC, secrets[place])).verify(body + b" ", sent)


def test_the_public_key_verifies_what_the_private_one_signed() -> None:
    key = shown(ED25519, PRIVATE)
    assert key.startswith("whpk_")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_")))
    signature = base64.b64decode(PRIVATE_SIGNATURE.removeprefix("v1a,"))
    public.verify(signature, f"{MESSAGE}.{MOMENT}.".encode() + BODY)
    with pytest.raises(InvalidSignature):
        public.verify(signature, f"{MESSAGE}.{MOMENT + 1}.".encode() + BODY)
    assert base64.b64encode(PRIVATE).decode() not in key


def test_a_message_says_what_it_is() -> None:
    assert headers(HMAC, [SHARED], MESSAGE, MOMENT, BODY) == {
        "content-type": "application/json",
        "webhook-id": MESSAGE,
        "webhook-timestamp": str(MOMENT),
        "webhook-signature": SHARED_SIGNATURE,
    }


def test_a_secret_is_as_long_as_the_specification_wants_it() -> None:
    secret = shown(HMAC, new_secret())
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64
