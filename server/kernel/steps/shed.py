"""shed: refuses calls under overload, the least critical first.

A call is checked when it gets its thread. Refusing takes about 50 us, so the calls behind it move on. A call whose
caller is gone, or whose deadline has passed, is not started either.
"""

from collections.abc import Mapping

from server.kernel.call import Call
from server.kernel.chain import Guard, GuardStep, Request
from server.kernel.guard.pools import CallThreads
from server.kernel.policy import Criticality, MethodPolicy
from server.kernel.problems import Cancelled, DeadlineExceeded, Overloaded

RETRY_AFTER = 1.0


class Shed(GuardStep):
    """Answers UNAVAILABLE while too many calls wait."""

    name = "shed"

    def __init__(self, fast: CallThreads, slow: CallThreads, bounds: Mapping[Criticality, int]) -> None:
        self._fast = fast
        self._slow = slow
        self._bounds = bounds
        self.refused = 0
        """Calls refused since the process started."""

    def guard(self, method: MethodPolicy) -> Guard | None:
        """Compare the queue of the RPC's threads with the bound of its criticality. Streams do not queue."""
        if method.on_loop:
            return None
        queue = (self._slow if method.is_slow else self._fast)._work_queue  # noqa: SLF001 - a property costs 0.1 us
        bound = self._bounds[method.criticality]

        def shed(call: Call, _: Request) -> None:
            waiting = queue.qsize()
            if waiting:
                _refuse_the_gone(call)
            if waiting > bound:
                self.refused += 1
                raise Overloaded(retry_after=RETRY_AFTER)

        return shed


def _refuse_the_gone(call: Call) -> None:
    if not call.is_active:
        raise Cancelled
    left = call.time_left
    if left is not None and left <= 0:
        raise DeadlineExceeded
