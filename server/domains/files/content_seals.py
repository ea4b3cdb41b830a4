"""Seals: that this deployment has cleaned some bytes, which it therefore need not write anew.

An image that loses something is another one each time it is written. With its seal it comes back from an archive as it
was.
"""

from server.kernel.keys import Signatures, as_text, from_text
from server.secrets import Secrets


class ContentSeals:
    """Makes and checks seals. Those of before a rotation hold while the previous secret is accepted."""

    def __init__(self, given: Secrets) -> None:
        self._signatures = Signatures(given, "cleaned content")

    def seal(self, content_type: str, sha256: str) -> str:
        """The seal of bytes with this type and this hash, in hexadecimal digits."""
        return as_text(self._signatures.sign(_message(content_type, sha256)))

    def holds(self, seal: str, content_type: str, sha256: str) -> bool:
        """Whether a seal is that of these bytes."""
        raw = from_text(seal)
        return raw is not None and self._signatures.verify(_message(content_type, sha256), raw)


def _message(content_type: str, sha256: str) -> bytes:
    return f"{content_type} {sha256}".encode()
