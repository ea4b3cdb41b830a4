"""CORS: exact origins, with credentials; in development also pages of this machine. Any origin where a policy says."""

from collections.abc import Iterable

from server.gateway.pieces import Config, typed
from server.gateway.tracing import trace_headers
from server.settings import Settings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REQUEST_HEADERS = (
    "authorization", "content-type", "if-match", "if-none-match", "idempotency-key", "x-api-key", "x-request-id",
    "last-event-id", "x-grpc-web", "x-user-agent", "x-validate-only", "grpc-timeout",
    "connect-protocol-version", "connect-timeout-ms", "x-session-cookie", "x-csrf-token",
    "range", "if-range", "tus-resumable", "upload-length", "upload-metadata", "upload-offset",
)  # fmt: skip
EXPOSED_HEADERS = (
    "etag", "location", "x-request-id", "retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit",
    "x-ratelimit-remaining", "x-ratelimit-reset", "idempotent-replay", "grpc-status", "grpc-message",
    "grpc-status-details-bin", "content-disposition", "x-validate-only", "trailer-idempotent-replay",
    "accept-ranges", "content-range", "content-length", "tus-resumable", "upload-length", "upload-offset",
    "upload-expires",
)  # fmt: skip
# Origins of a front end's development server; Envoy matches the whole origin. Without https, which needs a certificate
# for this machine: its owner can also name the origin in the settings.
LOCAL_PAGES = r"http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?"


def origin_matchers(settings: Settings) -> list[Config]:
    """The origins whose pages may call."""
    matchers: list[Config] = [{"exact": origin} for origin in settings.cors_origins]
    if settings.environment == "development":
        matchers.append({"safe_regex": {"regex": LOCAL_PAGES}})
    return matchers


def cors_policy(settings: Settings) -> Config:
    """What pages of the allowed origins may do. Any other origin gets no CORS header at all."""
    request_headers = dict.fromkeys((*REQUEST_HEADERS, *settings.cors_headers, *trace_headers(settings)))
    return typed(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=origin_matchers(settings),
        allow_methods=", ".join(METHODS),
        allow_headers=", ".join(request_headers),
        expose_headers=", ".join(EXPOSED_HEADERS),
        max_age=str(settings.cors_max_age),
        allow_credentials=True,
        # The preflight of another origin is an ordinary OPTIONS, which Lua answers.
        forward_not_matching_preflights=True,
    )


def open_cors_policy(settings: Settings, exposed: Iterable[str]) -> Config:
    """What pages of any origin may do: send any header and no cookies, and read `exposed` headers too."""
    return typed(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"safe_regex": {"regex": ".*"}}],
        allow_methods=", ".join(METHODS),
        allow_headers="*",
        expose_headers=", ".join(dict.fromkeys((*EXPOSED_HEADERS, *exposed))),
        max_age=str(settings.cors_max_age),
        allow_credentials=False,
    )
