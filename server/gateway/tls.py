"""TLS towards clients."""

from server.gateway.pieces import Config, extension
from server.settings import Settings

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)


def transport_socket(settings: Settings) -> Config | None:
    """TLS 1.2 or later with forward secrecy, HTTP/2 preferred; None if no certificate is configured."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
                "cipher_suites": list(CIPHERS),
            },
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(settings.tls_certificate.absolute())},
                    "private_key": {"filename": str(settings.tls_key.absolute())},
                }
            ],
        },
    )
