"""How many live streams may be open at once: for a caller, and for all of a tenant.

Counted per process, of those that are open there: nothing has to be agreed with others, and nothing stays counted when
a process dies.
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
            # So that the first refusal is an increase.
            REFUSED.labels(scope)

    def take(self, call: Call) -> None:
        """A place for a stream, which give_back frees. Raises NoPlace."""
        owners = _owners(call)
        for scope, owner in owners:
            limit = self._limits[scope]
            if self._open[scope, owner] >= limit:
                REFUSED.labels(scope).inc()
                raise _no_place(scope, limit)
        self._open.update(owners)

    def give_back(self, call: Call) -> None:
        """The stream of a call that took a place has ended."""
        for owner in _owners(call):
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]


def _owners(call: Call) -> list[tuple[str, str]]:
    """Whose places a stream takes: scope and id."""
    caller = call.caller
    own = (API_KEY, caller.api_key_id) if caller.api_key_id else (USER, caller.user_id)
    return [own, (TENANT, call.tenant_id)] if call.tenant_id else [own]


def _no_place(scope: str, limit: int) -> NoPlace:
    whose = {USER: "You have", API_KEY: "This API key has", TENANT: "This tenant has"}[scope]
    return NoPlace(
        f"{whose} {limit} live streams open, which is as many as there may be: close one first.",
        metadata={"scope": scope, "limit": str(limit)},
    )
