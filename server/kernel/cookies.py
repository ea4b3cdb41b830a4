"""Cookies of browsers that keep their credentials where scripts cannot read them.

A cookie comes with every request that its site allows, so that a page of another site might make the browser send it.
SameSite=Strict keeps it from doing so, and a token guards against browsers and sister domains that do not: it is in a
cookie and in a header, and pages of other origins can set neither (signed double submit; OWASP, Cross-Site Request
Forgery Prevention).
"""

import secrets
from collections.abc import Mapping
from typing import Self

from server.kernel.keys import Signatures, as_text, from_text
from server.kernel.problems import Denied, Reason
from server.secrets import Secrets
from server.settings import Settings

ASKED = "x-session-cookie"
"""The header with which a browser asks for cookies: `true`."""
CSRF_HEADER, CSRF_COOKIE = "x-csrf-token", "plinth_csrf"
PATH = "/api/v1/auth"
NONCE_BYTES = 16


def cookies_of(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """The cookies of a call by name (RFC 6265, section 4.2.1). Of two with one name, the first has the longer path.

    Whatever else the site has set is passed over: the standard library reads none if it takes offence at one name.
    """
    found: dict[str, str] = {}
    for part in metadata.get("cookie", "").split(";"):
        name, equals, value = part.partition("=")
        if equals:
            found.setdefault(name.strip(), value.strip())
    return found


class BrowserCookies:
    """Sets the cookies of browsers, and tells whether a page of the own site has sent them."""

    def __init__(self, given: Secrets, *, lifetime: int, is_secure: bool) -> None:
        """`given` are the deployment's secrets.

        `lifetime` is the seconds for which browsers keep a cookie; `is_secure` keeps it from plain HTTP.
        """
        self._signatures = Signatures(given, "csrf token")
        self._lifetime = lifetime
        self._attributes = f"Path={PATH}; HttpOnly; SameSite=Strict{'; Secure' if is_secure else ''}"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of a deployment. Only a developer's machine without a certificate does without TLS."""
        is_secure = settings.environment != "development" or settings.tls_certificate is not None
        return cls(settings.secrets, lifetime=settings.refresh_token_lifetime, is_secure=is_secure)

    def keep(self, name: str, value: str) -> tuple[str, str]:
        """The header that sets a cookie."""
        return "set-cookie", f"{name}={value}; Max-Age={self._lifetime}; {self._attributes}"

    def drop(self, name: str) -> tuple[str, str]:
        """The header that removes a cookie."""
        return "set-cookie", f"{name}=; Max-Age=0; {self._attributes}"

    def csrf_token(self, metadata: Mapping[str, str]) -> str:
        """That of the browser's cookie, so that its pages share one; a new one if there is none."""
        known = cookies_of(metadata).get(CSRF_COOKIE, "")
        if self._is_ours(known):
            return known
        nonce = secrets.token_bytes(NONCE_BYTES)
        return as_text(nonce + self._signatures.sign(nonce))

    def check_csrf(self, metadata: Mapping[str, str]) -> None:
        """Raise Denied unless the header has the token of the cookie."""
        sent, kept = metadata.get(CSRF_HEADER, ""), cookies_of(metadata).get(CSRF_COOKIE, "")
        if not secrets.compare_digest(sent.encode(), kept.encode()) or not self._is_ours(kept):
            raise Denied(
                "Send the token of GET /api/v1/auth/csrf as `X-CSRF-Token`.", reason=Reason.REASON_CSRF_TOKEN_INVALID
            )

    def _is_ours(self, token: str) -> bool:
        raw = from_text(token)
        if raw is None:
            return False
        nonce, signature = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
        return self._signatures.verify(nonce, signature)
