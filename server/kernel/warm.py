"""Warming: reads, ahead of the first visitor, the cached data that all users of a tenant share."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass

from server.kernel.call import Call
from server.kernel.chain import Step, Unary, compose_unary
from server.kernel.policy import MethodPolicy

if TYPE_CHECKING:
    from google.protobuf.message import Message

# The steps before this one do not apply to a read without a caller: limits, logs and answers.
FIRST_STEP = "authorize"


class Warmer:
    """Runs the reads that need only a tenant."""

    def __init__(self) -> None:
        self._reads: list[tuple[MethodPolicy, Unary, Callable[..., Message]]] = []

    def add(self, method: MethodPolicy, steps: Sequence[Step], handler: Unary) -> None:
        """Add an RPC if its answer is cached for all callers and its request has only a tenant."""
        fields = [field.name for field in method.descriptor.input_type.fields]
        if not method.cache_seconds or method.per_caller or fields != ["tenant_id"]:
            return
        names = [step.name for step in steps]
        inner = steps[names.index(FIRST_STEP) :] if FIRST_STEP in names else steps
        composed, _ = compose_unary(method, inner, handler)
        self._reads.append((method, composed, GetMessageClass(method.descriptor.input_type)))

    def warm(self, call: Call, tenant_id: str) -> list[str]:
        """Run the reads on behalf of the caller. Returns the names of the methods.

        Raises NotFound for an unknown tenant.
        """
        for method, read, request_class in self._reads:
            inner = Call(method, call.context)
            inner.principal = call.principal
            read(inner, request_class(tenant_id=tenant_id))
        return [method.path.removeprefix("/") for method, _, _ in self._reads]
