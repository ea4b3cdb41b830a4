"""Explanations of rate limits: what applies to a call of an RPC, and what is left of it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from plinth.tenancy.v1.rate_limits_pb2 import ExplainRateLimitsRequest
from plinth.types.v1.explanation_pb2 import Explanation

from server.domains.tenancy.explain import API_KEY_TYPE, HELD, USER_TYPE
from server.kernel.call import Call, Principal
from server.kernel.clock import Clock
from server.kernel.explaining import DEFER, FAIL, Explaining
from server.kernel.guard import LimitStandings
from server.kernel.policy import Access, MethodPolicy, method_named
from server.kernel.ports import KeyGrants
from server.kernel.problems import not_found
from server.kernel.rates import Standing


class LimitExplainer:
    """Explains rate limits."""

    def __init__(
        self,
        standings: LimitStandings | None,
        policies: Mapping[str, MethodPolicy],
        keys: KeyGrants,
        clock: Clock,
    ) -> None:
        """`standings` is None if calls are not limited."""
        self._standings = standings
        self._policies = policies
        self._keys = keys
        self._clock = clock

    def explain(self, call: Call, request: ExplainRateLimitsRequest) -> Explanation:
        """One reason for each limit, or one for none. Raises RuleViolated and NotFound."""
        method = method_named(self._policies, "method", request.method)
        found = Explaining()
        if self._standings is None:
            return found.passed("deployment", "NOT_LIMITED", rule="PLINTH_RATE_LIMITS_ENABLED").answer
        if method.access is Access.PROVIDER_SIGNATURE:
            return found.passed("key", "OF_PROVIDER", value="counted for each key of the provider that calls").answer
        standings = self._of(call, request, self._standings, method)
        if not standings:
            return found.passed("address", "INSIDE", value="calls from inside the deployment are not counted").answer
        for standing in standings:
            self._add(found, standing)
        return found.answer

    def _of(
        self, call: Call, request: ExplainRateLimitsRequest, standings: LimitStandings, method: MethodPolicy
    ) -> list[Standing]:
        if method.access is Access.PUBLIC:
            return standings.of_stranger(method, call.client_network)
        return standings.of_known(method, self._caller(call, request))

    def _caller(self, call: Call, request: ExplainRateLimitsRequest) -> Principal:
        """Whose limits to explain, as the limits see a caller. Raises NotFound."""
        caller = replace(call.caller, tenant_id=call.tenant_id)
        if request.api_key_id:
            key = self._keys.of(call, request.api_key_id)
            if key is None:
                raise not_found(API_KEY_TYPE, request.api_key_id)
            # Paces are those of the key itself too.
            key_id = request.api_key_id.lower()
            return replace(caller, user_id="", api_key_id=key_id, calls_per_minute=0, ancestor_paces=key["paces"])
        if not request.user_id or request.user_id.lower() == caller.user_id:
            return caller
        user_id = request.user_id.lower()
        if call.reads.run(HELD, within=call.tenant_id, member=user_id).first() is None:
            raise not_found(USER_TYPE, request.user_id)
        return replace(caller, user_id=user_id, api_key_id="", calls_per_minute=0, ancestor_paces=())

    def _add(self, found: Explaining, standing: Standing) -> None:
        rate, verdict = standing.rate, standing.verdict
        allowed = f"{rate.calls} per {rate.period:g} s"
        step, rule = standing.scope, standing.rate_class
        if verdict is None and standing.is_strict:
            unless = "Redis answers: calls of this class are refused without it."
            found.stopped(step, FAIL, "STORE_AWAY", rule=rule, value=allowed, unless=unless)
        elif verdict is None:
            found.passed(step, "STORE_AWAY", rule=rule, value=f"{allowed}, not counted while Redis does not answer")
        elif verdict.retry_after:
            time = self._clock() + timedelta(seconds=verdict.retry_after)
            unless = f"Its `time` has come, or the limit of the class `{rule}` is raised."
            found.stopped(step, DEFER, "EXHAUSTED", rule=rule, value=f"0 of {allowed}", time=time, unless=unless)
        else:
            found.passed(step, "CALLS_LEFT", rule=rule, value=f"{verdict.remaining} of {allowed}")
