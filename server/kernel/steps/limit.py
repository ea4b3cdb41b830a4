"""limit: enforces rate limits, before anything is decided or looked up, so that a refusal costs almost nothing.

Anonymous callers are counted by address, known ones by user or API key, and all calls in a tenant once more together.
Telemetry is counted by tenant alone, apart from the tenant's other calls. An API key also has its own limit and those
of its ancestors. All limits that apply are checked, and the tightest one is reported. A call that one of them refuses
is charged to none, so that a refused caller costs others nothing.

While the store does not answer, the classes in `strict` refuse calls and all others allow them. Both are counted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from server.kernel.call import Call
from server.kernel.chain import Guard, GuardStep, Request
from server.kernel.guard.applied_limits import (
    AppliedLimit,
    LimitsOfCaller,
    TenantRates,
    limits_of,
    limits_of_sender,
    limits_of_stranger,
    rate_class_of,
)
from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.policy import Access, MethodPolicy, PolicyError
from server.kernel.problems import Unavailable
from server.kernel.rates import Rate, Verdict, refusal


@dataclass(slots=True)
class Counts:
    """Outcomes of rate limits. A call is counted once for its caller and once for its tenant."""

    allowed: int = 0
    refused: int = 0
    unchecked: int = 0
    """Allowed because the store did not answer."""
    unavailable: int = 0
    """Refused because the store did not answer."""


class Limit(GuardStep):
    """Answers RESOURCE_EXHAUSTED if a limit is exhausted."""

    name = "limit"

    def __init__(
        self,
        limiter: RateLimiter,
        rates: Mapping[str, Rate],
        tenants: TenantRates,
        strict: Collection[str],
    ) -> None:
        """`rates` by class; `strict` are the classes that refuse while the store does not answer."""
        self._limiter = limiter
        self._rates = rates
        self._tenants = tenants
        self._strict = frozenset(strict)
        self.counts = {rate_class: Counts() for rate_class in rates}
        """Outcomes by rate class."""

    def guard(self, method: MethodPolicy) -> Guard:
        """The guard that counts a call, or refuses it."""
        rate_class = self._class_of(method)
        if method.access is Access.PUBLIC:
            return self._anonymous_guard(rate_class)
        if method.access is Access.PROVIDER_SIGNATURE:
            return self._sender_guard(rate_class)
        return self._known_guard(rate_class, limits_of(method))

    def check(self, methods: Iterable[MethodPolicy]) -> None:
        """Raise PolicyError if a method names a rate class without a limit in the settings."""
        for method in methods:
            self._class_of(method)

    def _class_of(self, method: MethodPolicy) -> str:
        rate_class = rate_class_of(method)
        if rate_class not in self._rates:
            raise PolicyError(
                [f"{method.path} names the rate class `{rate_class}`, which has no limit in the settings"]
            )
        return rate_class

    def _anonymous_guard(self, rate_class: str) -> Guard:
        rate = self._rates[rate_class]

        def count(call: Call, _: Request) -> None:
            limits = limits_of_stranger(rate_class, rate, call.client_network)
            if limits:
                self._take(call, limits)

        return count

    def _sender_guard(self, rate_class: str) -> Guard:
        """The guard that counts the calls of one key of a provider."""
        rate = self._rates[rate_class]

        def count(call: Call, _: Request) -> None:
            self._take(call, limits_of_sender(rate_class, rate, str(call.actor.id)))

        return count

    def _known_guard(self, rate_class: str, limits_of_caller: LimitsOfCaller) -> Guard:
        rates, tenants = self._rates, self._tenants

        def count(call: Call, _: Request) -> None:
            caller = call.caller
            own = tenants.of(caller.tenant_id) if caller.tenant_id else {}
            self._take(call, limits_of_caller(rate_class, rates, own, caller))

        return count

    def _take(self, call: Call, limits: Sequence[AppliedLimit]) -> None:
        """Spend one call of each limit, or of none. The headers report the tightest limit."""
        take = self._limiter.take
        taken: list[tuple[AppliedLimit, Verdict]] = []
        tightest: Verdict | None = None
        for limit in limits:
            try:
                verdict = take(limit[2], limit[3])
            except LimitsAway as error:
                self._let_through(limit[0], error)
                continue
            if verdict.retry_after:
                for spent, given in taken:
                    self._limiter.give_back(spent[2], given)
                self._refuse(call, limit, verdict, limits)
            taken.append((limit, verdict))
            if tightest is None or verdict.remaining < tightest.remaining:
                tightest, call.limit_class = verdict, limit[0]
        call.limit, counted = tightest, ""
        for limit, _ in taken:
            if limit[0] != counted:
                counted = limit[0]
                self.counts[counted].allowed += 1

    def _refuse(self, call: Call, limit: AppliedLimit, verdict: Verdict, limits: Sequence[AppliedLimit]) -> NoReturn:
        """Refuse with the limit that has the longest wait, among the refusing one and those after it."""
        for other in limits[limits.index(limit) + 1 :]:
            try:
                answer = self._limiter.ask(other[2], other[3])
            except LimitsAway as error:
                self._let_through(other[0], error)
                continue
            if answer.retry_after > verdict.retry_after:
                limit, verdict = other, answer
        rate_class, scope, _, _ = limit
        call.limit, call.limit_class = verdict, rate_class
        self.counts[rate_class].refused += 1
        raise refusal(rate_class, scope, verdict)

    def _let_through(self, rate_class: str, error: LimitsAway) -> None:
        """Skip a limit while the store does not answer, or raise Unavailable if its class is strict."""
        counts = self.counts[rate_class]
        if rate_class in self._strict:
            counts.unavailable += 1
            raise Unavailable("redis") from error
        counts.unchecked += 1
