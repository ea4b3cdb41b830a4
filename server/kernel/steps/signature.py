"""signature: whose a call is that a provider has signed. Only in the chain of RPCs with `provider_signature`.

It takes the place of authenticate and authorize. Only calls whose signature is bad count against their address, and no
address is blocked for them: providers send from few addresses, for all tenants.
"""

from collections.abc import Mapping
from functools import partial

from google.api.httpbody_pb2 import HttpBody

from server.kernel.call import CONTENT_ENCODING, Call
from server.kernel.chain import Guard, GuardStep, Request
from server.kernel.clock import unix_now
from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.inbound.signatures import BadSignature, InboundCall, InboundSignature
from server.kernel.policy import Access, MethodPolicy
from server.kernel.rates import Rate, refusal
from server.kernel.raw_bodies import RawBody
from server.kernel.steps.raw_body import check, inflated

RATE_CLASS, SCOPE = "auth_failure", "address"
NO_BODY = HttpBody()


class Signature(GuardStep):
    """Sets tenant and sender of a call, or answers UNAUTHENTICATED."""

    name = "signature"

    def __init__(self, adapters: Mapping[str, InboundSignature], limiter: RateLimiter, rate: Rate) -> None:
        """`adapters` by name; `rate` is how many bad signatures are answered as such to one network."""
        self._adapters = adapters
        self._limiter = limiter
        self._rate = rate

    def guard(self, method: MethodPolicy) -> Guard | None:
        """Have the adapter verify the call. Nothing that is larger or of another type than declared comes to it."""
        if method.access is not Access.PROVIDER_SIGNATURE:
            return None
        verify, raw = self._adapters[method.permission].verify, method.raw

        def verified(call: Call, request: Request) -> None:
            body = _body_of(raw, request)
            inbound = InboundCall(
                call.metadata, request, body.data, unix_now(), partial(_inflate, raw, call, body.data)
            )
            try:
                sender = verify(inbound)
            except BadSignature:
                self._count(call)
                raise
            call.enter_signed(sender.tenant_id, sender.key_id)

        return verified

    def _count(self, call: Call) -> None:
        """Count a bad signature. Raises RateLimited if there were too many from this network."""
        network = call.client_network
        if not network:
            return
        try:
            verdict = self._limiter.take(f"bad_signature:{SCOPE}:{network}", self._rate)
        except LimitsAway:
            return
        if not verdict.allowed:
            raise refusal(RATE_CLASS, SCOPE, verdict)


def _body_of(raw: RawBody | None, request: Request) -> HttpBody:
    if raw is None:
        return NO_BODY
    body: HttpBody = getattr(request, raw.field)
    check(raw, body)
    return body


def _inflate(raw: RawBody | None, call: Call, data: bytes) -> bytes:
    encoding = call.metadata.get(CONTENT_ENCODING)
    return data if raw is None or encoding is None else inflated(raw, str(encoding), data)
