"""DKIM (RFC 6376): mail is signed, so that receivers know that the domain of its sender answers for it."""

from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

SHORTEST_KEY = 2048
"""Bits of a key. RFC 8301 asks for no less of signers."""
RELAXED = (b"relaxed", b"relaxed")
# What servers on the way add or change.
_UNSIGNED = frozenset({"return-path", "received"})


@dataclass(frozen=True, slots=True)
class DkimSigner:
    """Signs mail. The key stands in DNS at `<selector>._domainkey.<domain>`."""

    domain: str
    selector: str
    private_key: bytes
    """PKCS #1, in PEM."""

    def sign(self, content: bytes) -> bytes:
        """The message with the header DKIM-Signature in front. Takes some 20 ms of one core."""
        names = [name.lower() for name in message_from_bytes(content) if name.lower() not in _UNSIGNED]
        header = dkim.sign(
            content,
            self.selector.encode(),
            self.domain.encode(),
            self.private_key,
            canonicalize=RELAXED,
            # `From` once more than it is there (section 8.15): nobody can add another one in front.
            include_headers=[name.encode() for name in (*names, "from")],
        )
        return bytes(header) + content


def signer_of(path: Path, domain: str, selector: str) -> DkimSigner:
    """A signer with the key in a file. Raises as `private_key_in` does."""
    pem = private_key_in(path).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return DkimSigner(domain, selector, pem)


def private_key_in(path: Path) -> RSAPrivateKey:
    """The key in a file, in PEM. Raises OSError, and ValueError for any but an RSA key of 2,048 bits."""
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, RSAPrivateKey) or key.key_size < SHORTEST_KEY:
        raise ValueError(f"{path} holds no RSA key of at least {SHORTEST_KEY} bits")
    return key
