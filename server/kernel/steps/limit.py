"""limit: how often may be called. Before anything is decided or looked up, so that refusing costs next to nothing.

Anonymous callers are counted by address, known ones by user or API key, and everything in a tenant once more together.
An API key also has the limits that it and the keys before it were made with. All limits that apply are asked, and the
tightest one answers. A call that one of them refuses is charged to none: a caller that is refused costs others nothing.

While the store is away, the classes of `strict` refuse and all others let through; both are counted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from server.kernel.call import Call
from server.kernel.chain import Guard, GuardStep, Request
from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.policy import Access, MethodPolicy, PolicyError
from server.kernel.ports import TenantRates
from server.kernel.problems import Unavailable
from server.kernel.rates import Rate, Verdict, refusal

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


Asked = tuple[str, str, str, Rate]
"""A limit that applies to a call: rate class, scope, what names it in the store, and the rate.

A plain tuple, since every call makes two of them.
"""


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
        rate_class = self._class_of(method)
        return self._anonymous_guard(rate_class) if method.access is Access.PUBLIC else self._known_guard(rate_class)

    def check(self, methods: Iterable[MethodPolicy]) -> None:
        """Raise PolicyError when one of them names a rate class without a limit in the settings."""
        for method in methods:
            self._class_of(method)

    def _class_of(self, method: MethodPolicy) -> str:
        is_public = method.access is Access.PUBLIC
        rate_class = ANONYMOUS if is_public and method.rate_class == DEFAULT else method.rate_class
        if rate_class not in self._rates:
            raise PolicyError(
                [f"{method.path} names the rate class `{rate_class}`, which has no limit in the settings"]
            )
        return rate_class

    def _anonymous_guard(self, rate_class: str) -> Guard:
        rate = self._rates[rate_class]

        def count(call: Call, _: Request) -> None:
            # Inside the deployment nobody vouches for an address, and callers are our own.
            network = call.client_network
            if network:
                self._take(call, ((rate_class, "address", f"{rate_class}:address:{network}", rate),))

        return count

    def _known_guard(self, rate_class: str) -> Guard:
        rates, tenants = self._rates, self._tenants

        def count(call: Call, _: Request) -> None:
            caller = call.caller
            own = tenants.of(caller.tenant_id) if caller.tenant_id else {}
            rate = own.get(rate_class) or rates[rate_class]
            if caller.api_key_id:
                asked = [(rate_class, "api_key", f"{rate_class}:api_key:{caller.api_key_id}", rate)]
                for key_id, calls in caller.paces:
                    asked.append((rate_class, "api_key", f"pace:api_key:{key_id}", _per_minute(calls)))
            else:
                asked = [(rate_class, "user", f"{rate_class}:user:{caller.user_id}", rate)]
            if caller.tenant_id:
                key = f"{TENANT}:{TENANT}:{caller.tenant_id}"
                asked.append((TENANT, TENANT, key, own.get(TENANT) or rates[TENANT]))
            self._take(call, asked)

        return count

    def _take(self, call: Call, limits: Sequence[Asked]) -> None:
        """Spend one call of each limit, or of none. Of several limits, the headers tell the tightest."""
        take = self._limiter.take
        taken: list[tuple[Asked, Verdict]] = []
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

    def _refuse(self, call: Call, limit: Asked, verdict: Verdict, limits: Sequence[Asked]) -> NoReturn:
        """Answer for the limit that makes the caller wait longest, of the one that refuses and those behind it."""
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
        """While the store is away, pass over a limit, or raise Unavailable where its class is strict."""
        counts = self.counts[rate_class]
        if rate_class in self._strict:
            counts.unavailable += 1
            raise Unavailable("redis") from error
        counts.unchecked += 1


@lru_cache(maxsize=1000)
def _per_minute(calls: int) -> Rate:
    return Rate(calls, 60.0)
