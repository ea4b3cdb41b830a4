"""Metrics of webhooks. No label names a tenant, a webhook or a host."""

from prometheus_client import Counter, Gauge, Histogram

from server.domains.webhooks.answers import is_success
from server.kernel.egress import NOT_ALLOWED, TIMEOUT
from server.kernel.ports import Answer

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0)

ATTEMPTS = Counter(
    "plinth_webhook_attempts",
    "Attempts to deliver, by what came of them: delivered, rejected (another status), timeout, refused (the address is "
    "not allowed), unreachable.",
    ["outcome"],
)
ATTEMPT_SECONDS = Histogram("plinth_webhook_attempt_seconds", "How long attempts took.", buckets=SECONDS)
DELIVERY_SECONDS = Histogram(
    "plinth_webhook_delivery_seconds",
    "From an event to its delivery, where the first attempt succeeded.",
    buckets=(*SECONDS, 60.0, 300.0),
)
PENDING = Gauge(
    "plinth_webhook_pending", "Deliveries that wait; beyond 100,000 as many.", multiprocess_mode="livemostrecent"
)
OLDEST_SECONDS = Gauge(
    "plinth_webhook_oldest_seconds",
    "How long the delivery has been due that has been due for longest, of webhooks that work.",
    multiprocess_mode="livemostrecent",
)
DISABLED = Counter("plinth_webhook_disabled", "Webhooks that were disabled because of their receiver.")


def outcome_label(answer: Answer) -> str:
    """The label of ATTEMPTS for an attempt with this answer."""
    if answer.status_code:
        return "delivered" if is_success(answer.status_code) else "rejected"
    return {TIMEOUT: "timeout", NOT_ALLOWED: "refused"}.get(answer.error, "unreachable")
