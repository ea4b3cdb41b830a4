"""When a failed call is made again, and when a broken stream is opened again. Waits for nothing itself."""

import random
import time
from dataclasses import dataclass
from typing import Protocol

from plinth.client.errors import Aborted, DeadlineExceeded, Internal, PlinthError, ResourceExhausted, Unavailable

# Repeating these meets the same refusal again.
FINAL = frozenset({"ETAG_MISMATCH"})


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after which pauses, a call is made again that failed for a passing reason."""

    attempts: int = 5
    """Most attempts of one call, the first included. 1 means that nothing is repeated."""
    first_pause: float = 0.1
    """Seconds. Pauses are random, up to this and then up to twice as much each time (full jitter)."""
    longest_pause: float = 10.0
    """Seconds that no pause exceeds, unless the server asks for more with RetryInfo."""
    resume_within: float = 300.0
    """Seconds for which a broken stream is opened again and again, before it ends with its last error."""

    def pause(self, number: int, error: PlinthError) -> float:
        """Seconds before attempt `number + 1`: what RetryInfo asks for, and the jitter after it."""
        ceiling = min(self.longest_pause, self.first_pause * 2 ** min(number - 1, 30))
        jitter = random.uniform(0.0, ceiling)  # noqa: S311 - it spreads load, and keeps no secret
        return (error.retry_after or 0.0) + jitter


USUAL = Retries()


def is_passing(error: PlinthError) -> bool:
    """Whether the same call may succeed a moment later.

    RESOURCE_EXHAUSTED without RetryInfo is a quota, or a message that is too large.
    """
    if isinstance(error, ResourceExhausted):
        return error.retry_after is not None
    return isinstance(error, (Unavailable, Aborted)) and error.reason not in FINAL


class Budget:
    """The time that one call has, over all its attempts."""

    def __init__(self, timeout: float | None) -> None:
        """`timeout` is seconds, None for no end. Raises ValueError unless it is above 0."""
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout is {timeout}, and has to be above 0 seconds")
        self._end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Seconds that are left, None for no end. Raises DeadlineExceeded if none are."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("The call did not end within its timeout.")
        return left

    def has(self, seconds: float) -> bool:
        """Whether more than this is left."""
        return self._end is None or self._end - time.monotonic() > seconds


class Tries(Protocol):
    """What decides whether there is another attempt."""

    has_renewed: bool
    """Whether the token was renewed since the last success: once is enough."""

    def pause_after(self, error: PlinthError) -> float:
        """Seconds to wait before the next attempt. Raises the error if there is to be none."""


class Attempts:
    """The attempts of one call."""

    def __init__(self, retries: Retries, budget: Budget) -> None:
        self._retries = retries
        self._budget = budget
        self._made = 0
        self.has_renewed = False

    def pause_after(self, error: PlinthError) -> float:
        """Seconds to wait before the next attempt. Raises the error if there is to be none."""
        self._made += 1
        pause = self._retries.pause(self._made, error)
        if self._made >= self._retries.attempts or not is_passing(error) or not self._budget.has(pause):
            raise error
        return pause


class Resumption:
    """A stream over all its connections: where it stands, and whether it goes on."""

    def __init__(self, retries: Retries, budget: Budget, last_event_id: str) -> None:
        self._retries = retries
        self._budget = budget
        self._failures = 0
        self._broken_at = 0.0
        self._has_opened = False
        self.has_renewed = False
        self.last_event_id = last_event_id
        """Id of the last event that was handed out, or the position at which the stream began."""

    def goes_on(self, last_event_id: str) -> None:
        """Note that the stream is open, and where it stands."""
        self._failures, self._has_opened, self.has_renewed = 0, True, False
        self.last_event_id = last_event_id or self.last_event_id

    def pause_after(self, error: PlinthError) -> float:
        """Seconds to wait before the stream is opened again. Raises the error if it is not to be.

        A stream that has never been open is tried as often as any call.
        """
        now = time.monotonic()
        self._broken_at = self._broken_at if self._failures else now
        self._failures += 1
        pause = self._retries.pause(self._failures, error)
        if self._has_opened:
            is_over = now + pause - self._broken_at > self._retries.resume_within
        else:
            is_over = self._failures >= self._retries.attempts
        if is_over or not self._budget.has(pause) or not self._is_resumable(error):
            raise error
        return pause

    def _is_resumable(self, error: PlinthError) -> bool:
        # The server may not have noticed yet that the broken connection is gone, and still count its stream.
        still_counted = isinstance(error, ResourceExhausted) and self._has_opened
        # What breaks on the way, such as a proxy that restarts, has no reason of the server's.
        broke_on_the_way = isinstance(error, Internal) and not error.reason
        return is_passing(error) or still_counted or broke_on_the_way
