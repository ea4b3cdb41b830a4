"""Limits of live streams that are open at the same time: per caller, and per tenant.

Each process counts the streams that are open in it. The processes need no agreement, and no stream stays counted when a
process dies.
"""

from collections import Counter

import grpc
from prometheus_client import Counter as Metric

from server.kernel.call import Call
from server.kernel.problems import Problem, Reason

REFUSED = Metric("plinth_streams_refused", "Streams that found no place, by whose places were taken.", ["scope"])
USER, API_KEY, TENANT = "user", "api_key", "tenant"


class NoPlace(Problem):
    """As many streams are open as may be; close one first."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    reason = Reason.REASON_LIMIT_REACHED


class StreamPlaces:
    """Counts open streams. Belongs to one event loop."""

    def __init__(self, per_caller: int, per_tenant: int) -> None:
        self._limits = {USER: per_caller, API_KEY: per_caller, TENANT: per_tenant}
        self._open: Counter[tuple[str, str]] = Counter()
        for scope in self._limits:
            # Created at 0, so that the first refusal is an increase.
            REFUSED.labels(scope)

    def take(self, call: Call) -> None:
        """Count a stream as open until give_back. Raises NoPlace."""
        self.check(call)
        self._open.update(_owners(call))

    def check(self, call: Call) -> None:
        """Raise NoPlace if a stream could not be opened now."""
        for scope, owner in _owners(call):
            if self._open[scope, owner] >= self._limits[scope]:
                REFUSED.labels(scope).inc()
                raise _no_place(scope, self._limits[scope])

    def give_back(self, call: Call) -> None:
        """Count the stream of a call as ended."""
        for owner in _owners(call):
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]


def _owners(call: Call) -> list[tuple[str, str]]:
    """The scopes and ids against which a stream counts."""
    caller = call.caller
    own = (API_KEY, caller.api_key_id) if caller.api_key_id else (USER, caller.user_id)
    return [own, (TENANT, call.tenant_id)] if call.tenant_id else [own]


def _no_place(scope: str, limit: int) -> NoPlace:
    whose = {USER: "You have", API_KEY: "This API key has", TENANT: "This tenant has"}[scope]
    return NoPlace(
        f"{whose} {limit} live streams open, which is as many as there may be: close one first.",
        metadata={"scope": scope, "limit": str(limit)},
    )
