"""Failures of requests over aiohttp in fixed words, since its own may hold a URL, a header, or an address."""

import ssl

import aiohttp

from server.kernel.egress import TIMEOUT


def in_words(error: Exception | None) -> str:
    """The cause of a failure."""
    # The cause of a failed connection, which aiohttp wraps.
    causes = (getattr(error, "os_error", error), error)
    return next((words for kind, words in _WORDS if any(isinstance(cause, kind) for cause in causes)), "no answer")


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, TIMEOUT),
    (aiohttp.ClientConnectorDNSError, "the name does not resolve"),
    (aiohttp.ClientConnectorCertificateError, "the certificate is not valid"),
    (aiohttp.ClientSSLError, "TLS failed"),
    (ssl.SSLError, "TLS failed"),
    (ConnectionRefusedError, "connection refused"),
    (aiohttp.ClientConnectorError, "no connection"),
    (aiohttp.InvalidURL, "the URL is not valid"),
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    (ConnectionResetError, "the connection was reset"),
    (aiohttp.ClientOSError, "the connection was lost"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (aiohttp.ClientPayloadError, "the answer is not HTTP"),
    (ValueError, "the URL is not valid"),
)
