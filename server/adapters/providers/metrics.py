"""Metrics of requests to providers. Labels are names that domains declare, and the outcomes below."""

from prometheus_client import Counter, Histogram

# Seconds.
REQUESTS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)

PROVIDER_REQUESTS = Counter(
    "plinth_provider_requests",
    "Requests to providers: ok, refused, rejected (credentials), throttled, failed (an error of the provider), "
    "not_sent, lost (no answer), open (the breaker).",
    ["provider", "outcome"],
)
PROVIDER_SECONDS = Histogram(
    "plinth_provider_request_seconds", "How long requests to providers took.", ["provider"], buckets=REQUESTS
)
