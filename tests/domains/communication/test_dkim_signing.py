"""DKIM: what receivers verify."""

from pathlib import Path
from typing import Any

import dkim
import pytest
from pydantic import ValidationError

from server.domains.communication.composing import compose
from server.domains.communication.dkim_signing import DkimSigner, signer_of
from server.domains.communication.settings import CommunicationSettings
from server.kernel.clock import utc_now
from tests.clients import Tenant
from tests.domains.communication.signing import SELECTOR, dns_record, key_file, make_key
from tests.mailbox import address, mailbox_of
from tests.stack import Stack

PARTS: dict[str, Any] = {
    "sender": "Plinth <a@example.com>",
    "to": "ada@example.org",
    "subject": "Fertig: schöner Wagen",
    "text": "One.\n.Two ends with blanks   \n\nSchön.",
    "reply_to": "",
    "message_id": "<1@example.com>",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("dkim") / "key.pem"
    make_key(found)
    return found


def verifies(content: bytes, path: Path, asked: list[bytes] | None = None) -> bool:
    """Whether a message bears the signature of the key that DNS knows."""

    def text(name: bytes, timeout: int = 5) -> bytes:
        del timeout
        if asked is not None:
            asked.append(name)
        return dns_record(path)

    return bool(dkim.verify(content, dnsfunc=text))


def test_a_signature_covers_headers_and_body(path: Path) -> None:
    signer = signer_of(path, "example.com", "s1")
    content = signer.sign(compose(**PARTS, time=utc_now(), unsubscribe_url="https://api.example/u/a").content)
    asked: list[bytes] = []
    assert verifies(content, path, asked)
    assert asked == [b"s1._domainkey.example.com."]
    signed = content.partition(b"h=")[2].partition(b";")[0].lower().replace(b" ", b"").replace(b"\r\n", b"")
    assert {b"subject", b"to", b"date", b"list-unsubscribe", b"list-unsubscribe-post"} <= set(signed.split(b":"))
    assert not verifies(content.replace(b"One.", b"Two."), path)
    assert not verifies(content.replace(b"To: ada@", b"To: eve@"), path)
    head, _, rest = content.partition(b"From:")
    assert not verifies(head + b"From: eve@example.com\r\nFrom:" + rest, path)
    # Servers on the way fold headers anew, and add their own.
    assert verifies(b"Received: from a by b\r\n" + content.replace(b"Subject: ", b"Subject:\r\n "), path)


def test_the_stack_signs_its_mail(stack: Stack, tenant: Tenant) -> None:
    to = address()
    tenant.rest.post("/api/v1/email/messages", {"to": to, "subject": "Schön", "text": "Grüße"})
    mailbox_of(stack).wait_for(to)
    (raw,) = (mailbox_of(stack).folder / to).glob("*.eml")
    asked: list[bytes] = []
    assert verifies(raw.read_bytes(), key_file(stack), asked)
    assert asked == [f"{SELECTOR}._domainkey.localhost.".encode()]


def test_a_key_that_cannot_sign_is_refused_before_anything_starts(tmp_path: Path) -> None:
    short, none = tmp_path / "short.pem", tmp_path / "none.pem"
    make_key(short, 1024)
    none.write_text("no key")
    for wrong in (short, none, tmp_path / "absent.pem"):
        with pytest.raises(ValidationError, match="an RSA key of at least 2,048 bits"):
            CommunicationSettings(communication_dkim_key_file=wrong)
    assert isinstance(signer_of_new(tmp_path), DkimSigner)


def signer_of_new(folder: Path) -> DkimSigner:
    make_key(folder / "new.pem")
    return signer_of(folder / "new.pem", "example.com", "s1")
