"""Thread pools: how many calls wait for a thread, and which of them are refused when too many do."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from server.kernel.policy import Criticality


class CallThreads(ThreadPoolExecutor):
    """The threads of one kind of call."""

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return self._work_queue.qsize()


def queue_bounds(bound: int) -> Mapping[Criticality, int]:
    """How many calls may wait when one of each criticality gets its thread: the least critical goes first."""
    return {Criticality.SHEDDABLE: bound, Criticality.NORMAL: 2 * bound, Criticality.CRITICAL: 4 * bound}
