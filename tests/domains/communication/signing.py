"""How the shared stack signs its mail, and takes reports about it."""

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tests.stack import Stack

BOUNCE_DOMAIN = "bounces.example.com"
REPORT_SECRET = "the mail server of tests says this"
SELECTOR = "tests"


def mail_settings(stack: Stack) -> dict[str, str]:
    """The settings. A key is made for them."""
    path = key_file(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    make_key(path)
    return {
        "communication_bounce_domain": BOUNCE_DOMAIN,
        "communication_report_secret": REPORT_SECRET,
        "communication_dkim_key_file": str(path),
        "communication_dkim_selector": SELECTOR,
    }


def key_file(stack: Stack) -> Path:
    """Where the key of a stack is."""
    return stack.data_dir.parent / "mail" / "dkim.pem"


def make_key(path: Path, bits: int = 2048) -> None:
    """Write a new key, which whoever runs the stack may read."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def dns_record(path: Path) -> bytes:
    """What DNS says of a key (RFC 6376, 3.6.1)."""
    key = load_pem_private_key(path.read_bytes(), password=None)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
