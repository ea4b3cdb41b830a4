"""CORS: exact origins, with credentials, on every path."""

from server.gateway.pieces import Config, typed
from server.gateway.tracing import trace_headers
from server.settings import Settings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REQUEST_HEADERS = (
    "authorization", "content-type", "if-match", "if-none-match", "idempotency-key", "x-api-key", "x-request-id",
    "last-event-id", "x-grpc-web", "x-user-agent", "grpc-timeout",
)  # fmt: skip
EXPOSED_HEADERS = (
    "etag", "location", "x-request-id", "retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit",
    "x-ratelimit-remaining", "x-ratelimit-reset", "idempotent-replay", "grpc-status", "grpc-message",
    "grpc-status-details-bin", "content-disposition",
)  # fmt: skip


def cors_policy(settings: Settings) -> Config:
    """What the pages of the configured origins may do. An origin that is not among them gets no CORS header at all."""
    return typed(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in settings.cors_origins],
        allow_methods=", ".join(METHODS),
        allow_headers=", ".join((*REQUEST_HEADERS, *trace_headers(settings))),
        expose_headers=", ".join(EXPOSED_HEADERS),
        max_age=str(settings.cors_max_age),
        allow_credentials=True,
        # Someone else's preflight is an ordinary OPTIONS, which Lua answers.
        forward_not_matching_preflights=True,
    )
