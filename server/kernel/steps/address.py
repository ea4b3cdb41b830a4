"""address: refuses blocked addresses, and blocks addresses with too many failures to authenticate.

The address is the one that the gateway vouches for. Calls from inside the deployment have none and are not refused.
Probes (rate class `probe`: health, public keys) are answered for blocked addresses too, so that a load balancer that
shares an address with an attacker does not consider the deployment down.
"""

from collections.abc import Callable

from server.kernel.call import Call
from server.kernel.chain import Answer, Before, Request, Unary
from server.kernel.guard.blocks import AddressBlocks
from server.kernel.guard.guesses import Guesses
from server.kernel.policy import Access, MethodPolicy
from server.kernel.problems import Reason, Unauthenticated
from server.kernel.steps.authenticate import KEY_HEADER
from server.kernel.steps.parse import QUERY_TOKEN

PROBE = "probe"
# The reasons that a guess results in. An expired token or an ended session is no guess.
GUESSED = (Reason.REASON_CREDENTIALS_INVALID,)


class Address(Before):
    """Answers PERMISSION_DENIED to blocked addresses."""

    name = "address"

    def __init__(self, blocks: AddressBlocks, guesses: Guesses, block: Callable[[str], None]) -> None:
        """`block` blocks a network for a while."""
        self._blocks = blocks
        self._guesses = guesses
        self._block = block

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Check the address; count failures to authenticate."""
        check = _let_in if method.rate_class == PROBE else self._blocks.check
        tried = _tried_request if method.access is Access.PUBLIC else _tried_credential

        def checked(call: Call, request: Request) -> Answer:
            address = call.client_address
            if not address:
                return proceed(call, request)
            check(address)
            try:
                return proceed(call, request)
            except Unauthenticated as problem:
                if problem.is_guess and problem.reason in GUESSED:
                    self._count(address, tried(call))
                raise

        return checked

    def _count(self, address: str, tried: bytes) -> None:
        network = self._guesses.count(address, tried)
        if network is not None:
            self._block(str(network))


def _let_in(address: str) -> None:
    """Allow any address."""


def _tried_request(call: Call) -> bytes:
    """The attempt at an RPC that trades credentials, such as an address and a password: the whole request."""
    return bytes(call.request.SerializeToString(deterministic=True)) if call.request is not None else b""


def _tried_credential(call: Call) -> bytes:
    """The credentials of a call, from a header or from the request."""
    header = call.metadata.get("authorization") or call.metadata.get(KEY_HEADER)
    if header is None:
        header = getattr(call.request, QUERY_TOKEN, "")
    return header if isinstance(header, bytes) else str(header).encode()
