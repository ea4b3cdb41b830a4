"""limit: how often may be called. Before anything is decided or looked up, so that refusing costs next to nothing.

Anonymous callers are counted by address, known ones by user or API key, and everything in a tenant once more together.
While the store is away, the classes of `strict` refuse and all others let through; both are counted.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

from server.kernel.call import Call
from server.kernel.chain import Guard, GuardStep
from server.kernel.limits import LimitsAway, Rate, RateLimiter, Verdict
from server.kernel.policy import Access, MethodPolicy, PolicyError
from server.kernel.problems import RateLimited, Unavailable

DEFAULT, ANONYMOUS, TENANT = "default", "general", "tenant"


@dataclass(slots=True)
class Counts:
    """What came of counting calls. One call is counted for its caller and once more for its tenant."""

    allowed: int = 0
    refused: int = 0
    unchecked: int = 0
    """Let through because the store was away."""
    unavailable: int = 0
    """Refused because the store was away."""


class TenantRates(Protocol):
    """What differs in a tenant."""

    def of(self, tenant_id: str) -> Mapping[str, Rate]:
        """The tenant's own rates by class."""


class Limit(GuardStep):
    """Answers RESOURCE_EXHAUSTED when a limit is used up."""

    name = "limit"

    def __init__(
        self,
        limiter: RateLimiter,
        rates: Mapping[str, Rate],
        tenants: TenantRates,
        strict: Collection[str],
    ) -> None:
        """`rates` by class; `strict` are the classes that refuse while the store is away."""
        self._limiter = limiter
        self._rates = rates
        self._tenants = tenants
        self._strict = frozenset(strict)
        self.counts = {rate_class: Counts() for rate_class in rates}
        """What came of counting, by rate class."""

    def guard(self, method: MethodPolicy) -> Guard:
        """Count the call, or refuse it."""
        is_public = method.access is Access.PUBLIC
        rate_class = ANONYMOUS if is_public and method.rate_class == DEFAULT else method.rate_class
        if rate_class not in self._rates:
            raise PolicyError(
                [f"{method.path} names the rate class `{rate_class}`, which has no limit in the settings"]
            )
        return self._anonymous_guard(rate_class) if is_public else self._known_guard(rate_class)

    def _anonymous_guard(self, rate_class: str) -> Guard:
        rate = self._rates[rate_class]

        def count(call: Call, _: Any) -> None:
            # Inside the deployment nobody vouches for an address, and callers are our own.
            address = call.client_address
            if address:
                self._take(call, rate_class, rate, "address", address)

        return count

    def _known_guard(self, rate_class: str) -> Guard:
        rates, tenants = self._rates, self._tenants

        def count(call: Call, _: Any) -> None:
            caller = call.caller
            own = tenants.of(caller.tenant_id) if caller.tenant_id else {}
            rate = own.get(rate_class) or rates[rate_class]
            if caller.api_key_id:
                if caller.calls_per_minute and rate_class == DEFAULT:
                    rate = Rate(caller.calls_per_minute, 60.0)
                self._take(call, rate_class, rate, "api_key", caller.api_key_id)
            else:
                self._take(call, rate_class, rate, "user", caller.user_id)
            if caller.tenant_id:
                self._take(call, TENANT, own.get(TENANT) or rates[TENANT], TENANT, caller.tenant_id)

        return count

    def _take(self, call: Call, rate_class: str, rate: Rate, scope: str, subject: str) -> None:
        verdict = self._ask(rate_class, rate, scope, subject)
        if verdict is None:
            return
        # Of several limits, the headers tell the tightest.
        if call.limit is None or verdict.remaining < call.limit.remaining or not verdict.allowed:
            call.limit = verdict
            call.limit_class = rate_class
        counts = self.counts[rate_class]
        if not verdict.allowed:
            counts.refused += 1
            raise refusal(rate_class, scope, verdict)
        counts.allowed += 1

    def _ask(self, rate_class: str, rate: Rate, scope: str, subject: str) -> Verdict | None:
        """The verdict; None when the store is away and the class lets through."""
        try:
            return self._limiter.take(f"{rate_class}:{scope}:{subject}", rate)
        except LimitsAway as error:
            counts = self.counts[rate_class]
            if rate_class in self._strict:
                counts.unavailable += 1
                raise Unavailable("redis") from error
            counts.unchecked += 1
            return None


def refusal(rate_class: str, scope: str, verdict: Verdict) -> RateLimited:
    """The problem of a limit that is used up."""
    rate = verdict.rate
    return RateLimited(
        f"More than {rate.calls} calls in {ceil(rate.period)} s: try again in {ceil(verdict.retry_after)} s.",
        metadata={
            "rate_class": rate_class,
            "limit": str(rate.calls),
            "period_seconds": str(ceil(rate.period)),
            "scope": scope,
        },
        retry_after=verdict.retry_after,
    )
