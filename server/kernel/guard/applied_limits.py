"""Which rate limits apply to a call. The step `limit` enforces them, and explanations show them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Protocol

from server.kernel.call import Principal
from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.policy import Access, MethodPolicy
from server.kernel.rates import Rate, Standing

DEFAULT, ANONYMOUS, INBOUND, TENANT = "default", "general", "inbound", "tenant"
_DEFAULTS = {Access.PUBLIC: ANONYMOUS, Access.PROVIDER_SIGNATURE: INBOUND}
"""The rate class of RPCs whose policy names none."""

AppliedLimit = tuple[str, str, str, Rate]
"""A limit that applies to a call: rate class, scope, key in the store, and rate.

A plain tuple, because every call makes two of them.
"""


class TenantRates(Protocol):
    """Rate limits that are set for a tenant."""

    def of(self, tenant_id: str) -> Mapping[str, Rate]:
        """The tenant's own rates by class."""


Rates = Mapping[str, Rate]
"""Rates by class."""
LimitsOfCaller = Callable[[str, Rates, Rates, Principal], list[AppliedLimit]]
"""The limits of a caller; takes the rate class, the rates of the deployment, and those of the tenant."""


def rate_class_of(method: MethodPolicy) -> str:
    """The rate class of an RPC. Strangers and providers of the class `default` have classes of their own."""
    return _DEFAULTS.get(method.access, DEFAULT) if method.rate_class == DEFAULT else method.rate_class


def limits_of_stranger(rate_class: str, rate: Rate, network: str) -> tuple[AppliedLimit, ...]:
    """The limits of an anonymous caller; none without a vouched address.

    Calls from inside the deployment have none, and their callers are part of Plinth.
    """
    return ((rate_class, "address", f"{rate_class}:address:{network}", rate),) if network else ()


def limits_of_sender(rate_class: str, rate: Rate, key_id: str) -> tuple[AppliedLimit, ...]:
    """The limit of a key with which a provider signs.

    Not one of its address, which all tenants share, nor of the tenant, whose users it must not keep out.
    """
    return ((rate_class, "key", f"{rate_class}:key:{key_id}", rate),)


def limits_of_known(rate_class: str, rates: Rates, own: Rates, caller: Principal) -> list[AppliedLimit]:
    """The limits of a user or an API key: those of the class, those of the key and its ancestors, and the tenant's."""
    rate = own.get(rate_class) or rates[rate_class]
    if caller.api_key_id:
        limits = [
            (rate_class, "api_key", f"{rate_class}:api_key:{caller.api_key_id}", rate),
            *_paces(rate_class, caller),
        ]
    else:
        limits = [(rate_class, "user", f"{rate_class}:user:{caller.user_id}", rate)]
    if caller.tenant_id:
        limits.append((TENANT, TENANT, f"{TENANT}:{TENANT}:{caller.tenant_id}", own.get(TENANT) or rates[TENANT]))
    return limits


def limits_of_telemetry(rate_class: str, rates: Rates, own: Rates, caller: Principal) -> list[AppliedLimit]:
    """The limits of a caller who writes telemetry: that of the tenant, and those of the key and its ancestors.

    It would otherwise use up what the tenant has for all its other calls.
    """
    rate = own.get(rate_class) or rates[rate_class]
    scope, counted = (TENANT, caller.tenant_id) if caller.tenant_id else ("user", caller.id)
    return [(rate_class, scope, f"{rate_class}:{scope}:{counted}", rate), *_paces(rate_class, caller)]


def limits_of(method: MethodPolicy) -> LimitsOfCaller:
    """Which limits the callers of an RPC meet who are known."""
    return limits_of_telemetry if method.is_telemetry else limits_of_known


def _paces(rate_class: str, caller: Principal) -> Iterator[AppliedLimit]:
    for key_id, calls in caller.paces:
        yield rate_class, "api_key", f"pace:api_key:{key_id}", _per_minute(calls)


@lru_cache(maxsize=1000)
def _per_minute(calls: int) -> Rate:
    return Rate(calls, 60.0)


class LimitStandings:
    """Reads the limits of a call without spending one."""

    def __init__(
        self,
        limiter: RateLimiter,
        rates: Mapping[str, Rate],
        tenants: TenantRates,
        strict: Iterable[str],
    ) -> None:
        """`rates` are those of the deployment by class. `strict` are the classes that refuse without the store."""
        self._limiter = limiter
        self._rates = rates
        self._tenants = tenants
        self._strict = frozenset(strict)

    def of_stranger(self, method: MethodPolicy, network: str) -> list[Standing]:
        """The limits of an anonymous caller from a network."""
        rate_class = rate_class_of(method)
        return self._read(limits_of_stranger(rate_class, self._rates[rate_class], network))

    def of_known(self, method: MethodPolicy, caller: Principal) -> list[Standing]:
        """The limits of a user or an API key."""
        own = self._tenants.of(caller.tenant_id) if caller.tenant_id else {}
        return self._read(limits_of(method)(rate_class_of(method), self._rates, own, caller))

    def _read(self, limits: Iterable[AppliedLimit]) -> list[Standing]:
        standings = []
        for rate_class, scope, key, rate in limits:
            try:
                verdict = self._limiter.ask(key, rate)
            except LimitsAway:
                verdict = None
            standings.append(Standing(rate_class, scope, rate, verdict, rate_class in self._strict))
        return standings
