"""Metrics of mail. No label names a tenant or an address."""

from plinth.communication.v1.email_message_pb2 import EmailMessage
from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("plinth_mail_attempts", "Attempts to send a message, by the status that followed.", ["status"])
SECONDS = Histogram(
    "plinth_mail_attempt_seconds",
    "How long the SMTP server took for a message.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
OLDEST_SECONDS = Gauge(
    "plinth_mail_oldest_seconds",
    "How long the message has been due that has been due for longest.",
    multiprocess_mode="livemostrecent",
)
WAITING = Gauge(
    "plinth_mail_waiting",
    "Messages that are due or will be tried again; beyond 100,000 as many.",
    multiprocess_mode="livemostrecent",
)


def outcome_label(status: int) -> str:
    """`STATUS_ACCEPTED` as `accepted`."""
    return str(EmailMessage.Status.Name(status)).removeprefix("STATUS_").lower()
