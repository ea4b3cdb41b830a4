"""Signed URLs: who has one gets one file until it expires, without credentials.

What is signed is the file, the copy and the time, with a key that is derived from the deployment's secret. A URL that
was signed before a rotation stays valid while the previous secret is accepted.
"""

from datetime import UTC, datetime
from urllib.parse import urlencode

from server.kernel.keys import Signatures, as_text, from_text
from server.secrets import Secrets


class SignedUrls:
    """Makes and checks them."""

    def __init__(self, given: Secrets, address: str) -> None:
        """`given` are the deployment's secrets; `address` is that of the API."""
        self._signatures = Signatures(given, "asset download")
        self._address = address

    def public(self, tenant_id: str, asset_id: str) -> str:
        """Where a public asset is."""
        return f"{self._address}/api/v1/tenants/{tenant_id}/assets/{asset_id}/download"

    def signed(self, tenant_id: str, asset_id: str, copy: int, expires: int) -> str:
        """Where an asset, or a copy of it, is until a time in seconds since 1970."""
        signature = self._signatures.sign(_message(tenant_id, asset_id, copy, expires))
        told = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"expires": told, "signature": as_text(signature)}
        return f"{self.public(tenant_id, asset_id)}?{urlencode(query | ({'copy': copy} if copy else {}))}"

    def holds(self, signature: str, tenant_id: str, asset_id: str, copy: int, expires: int) -> bool:
        """Whether a signature is that of these. The time is not looked at."""
        raw = from_text(signature)
        return raw is not None and self._signatures.verify(_message(tenant_id, asset_id, copy, expires), raw)


def _message(tenant_id: str, asset_id: str, copy: int, expires: int) -> bytes:
    return f"{tenant_id.lower()}/{asset_id.lower()}/{copy}/{expires}".encode()
