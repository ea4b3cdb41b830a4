"""Warming: reading what everyone in a tenant shares, so that the first visitor finds it cached."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass

from server.kernel.call import Call
from server.kernel.chain import Step, Unary, compose_unary
from server.kernel.policy import MethodPolicy

if TYPE_CHECKING:
    from google.protobuf.message import Message

# Outside of these nothing concerns a read that no caller asked for: it is neither limited nor logged nor answered.
FIRST_STEP = "authorize"


class Warmer:
    """Runs the reads that need nothing but a tenant."""

    def __init__(self) -> None:
        self._reads: list[tuple[MethodPolicy, Unary, Callable[..., Message]]] = []

    def add(self, method: MethodPolicy, steps: Sequence[Step], handler: Unary) -> None:
        """Take an RPC in, if its answer is cached for everyone and asks for a tenant alone."""
        fields = [field.name for field in method.descriptor.input_type.fields]
        if not method.cache_seconds or method.per_caller or fields != ["tenant_id"]:
            return
        names = [step.name for step in steps]
        inner = steps[names.index(FIRST_STEP) :] if FIRST_STEP in names else steps
        composed, _ = compose_unary(method, inner, handler)
        self._reads.append((method, composed, GetMessageClass(method.descriptor.input_type)))

    def warm(self, call: Call, tenant_id: str) -> list[str]:
        """Read them in the caller's name; the methods that were read. Raises NotFound when there is no such tenant."""
        for method, read, request_class in self._reads:
            inner = Call(method, call.context)
            inner.principal = call.principal
            read(inner, request_class(tenant_id=tenant_id))
        return [method.path.removeprefix("/") for method, _, _ in self._reads]
