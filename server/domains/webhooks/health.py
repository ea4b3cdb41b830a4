"""The health of a webhook: healthy, failing, warned, disabled. A pure function from a result to the next state.

    healthy --failure--> failing --failure, 3 days later--> warned --failure, 5 days later--> disabled
       ^------- success ----+----------- success --------------+

A receiver that answers 410 is disabled at once. A disabled webhook stays disabled until it is enabled by a call. A
failing webhook is disabled only if its tenant was warned at least a day before, even if nothing was sent in between.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from plinth.webhooks.v1.webhook_pb2 import Webhook

WARN_AFTER = timedelta(days=3)
DISABLE_AFTER = timedelta(days=5)
NOTICE = timedelta(days=1)


class Happening(Enum):
    """The result of an attempt."""

    SUCCESS = 1
    FAILURE = 2
    GONE = 3
    """The receiver wants no more messages."""


class State(Enum):
    """The state of a webhook."""

    HEALTHY = 1
    FAILING = 2
    WARNED = 3
    DISABLED = 4


class Notice(Enum):
    """A notice to the tenant. The values are types of events."""

    FAILING = "webhook.failing"
    DISABLED = "webhook.disabled"


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a webhook."""

    enabled: bool = True
    failing_since: datetime | None = None
    """The first failure after the last success."""
    warned: datetime | None = None
    """When the tenant was warned."""
    disabled: datetime | None = None
    reason: int = Webhook.DISABLE_REASON_UNSPECIFIED

    @property
    def state(self) -> State:
        """The state that follows from these facts."""
        if not self.enabled:
            return State.DISABLED
        if self.warned is not None:
            return State.WARNED
        return State.HEALTHY if self.failing_since is None else State.FAILING


def after(health: Health, happening: Happening, time: datetime) -> tuple[Health, Notice | None]:
    """The health after an attempt that ended at `time`, and the notice for the tenant, if any."""
    if not health.enabled:
        return health, None
    if happening is Happening.SUCCESS:
        return replace(health, failing_since=None, warned=None), None
    if happening is Happening.GONE:
        return _disabled(health, time, Webhook.DISABLE_REASON_GONE)
    return _after_failure(health, health.failing_since or time, time)


def _after_failure(health: Health, since: datetime, time: datetime) -> tuple[Health, Notice | None]:
    if health.warned is None:
        if time - since >= WARN_AFTER:
            return replace(health, failing_since=since, warned=time), Notice.FAILING
        return replace(health, failing_since=since), None
    if time - since >= DISABLE_AFTER and time - health.warned >= NOTICE:
        return _disabled(health, time, Webhook.DISABLE_REASON_FAILING)
    return health, None


def _disabled(health: Health, time: datetime, reason: int) -> tuple[Health, Notice]:
    return replace(health, enabled=False, disabled=time, reason=reason), Notice.DISABLED
