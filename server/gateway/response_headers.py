"""Headers of every response."""

from server.settings import Settings

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
POLICY = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'"}
"""Of every response that has no other."""
TRANSPORT_SECURITY = {"strict-transport-security": "max-age=63072000; includeSubDomains"}


def security_headers(settings: Settings) -> dict[str, str]:
    """The security headers, with HSTS only if this gateway itself uses TLS."""
    return SECURITY | (TRANSPORT_SECURITY if settings.tls_certificate else {})
