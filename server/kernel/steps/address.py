"""address: refuses blocked addresses, and blocks those from which too many try to authenticate in vain.

The address is the one that the gateway vouches for; inside the deployment there is none, and nothing is refused.
"""

from collections.abc import Callable
from typing import Any

from server.kernel.blocks import AddressBlocks
from server.kernel.call import Call
from server.kernel.chain import Answer, Before, Unary
from server.kernel.limits import LimitsAway, Rate, RateLimiter
from server.kernel.policy import MethodPolicy
from server.kernel.problems import Reason, Unauthenticated

# What somebody gets who guesses. An expired token or an ended session is no guess.
GUESSED = (Reason.REASON_CREDENTIALS_INVALID,)


class Address(Before):
    """Answers PERMISSION_DENIED to blocked addresses."""

    name = "address"

    def __init__(
        self, blocks: AddressBlocks, limiter: RateLimiter, failures: Rate, block: Callable[[str], None]
    ) -> None:
        """`failures` is how many failed attempts an address has; `block` blocks one for a while."""
        self._blocks = blocks
        self._limiter = limiter
        self._failures = failures
        self._block = block

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Check the address; count failures to authenticate."""
        del method
        check = self._blocks.check

        def checked(call: Call, request: Any) -> Answer:
            address = call.client_address
            if not address:
                return proceed(call, request)
            check(address)
            try:
                return proceed(call, request)
            except Unauthenticated as problem:
                self._count(address, problem)
                raise

        return checked

    def _count(self, address: str, problem: Unauthenticated) -> None:
        if not address or problem.reason not in GUESSED:
            return
        try:
            verdict = self._limiter.take(f"auth_failure:address:{address}", self._failures)
        except LimitsAway:
            return
        if not verdict.allowed:
            self._block(address)
