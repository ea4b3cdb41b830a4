"""One call: who calls what, in whose name, and what is sent back beside the answer."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from server.data.transactions import ReadTransaction, Scope, Transaction, WriteTransaction
from server.kernel.ids import new_id
from server.kernel.policy import MethodPolicy

# Metadata that the gateway vouches for; it strips them from what clients send.
ORIGINAL_PATH = "x-envoy-original-path"
JSON_KEYS = "x-plinth-json-keys"
HTTP_STATUS = "x-http-status"
REQUEST_ID = "x-request-id"
CLIENT_ADDRESS = "x-envoy-external-address"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class ServerContext(Protocol):
    """What the chain needs of a gRPC context, of threads and asyncio alike."""

    def invocation_metadata(self) -> Any:
        """The metadata of the call."""

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, or None."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls."""

    user_id: str
    session_id: str
    tenant_id: str | None
    """The tenant that the credentials carry."""
    roles: tuple[str, ...]
    """The caller's roles in that tenant."""
    is_platform: bool
    """Whether the caller administers the platform."""
    expires_at: float
    """Unix time after which the credentials count no more."""


class Call:
    """One call on its way through the chain. Steps fill it in; handlers read it."""

    transaction: Transaction

    def __init__(self, method: MethodPolicy, context: ServerContext) -> None:
        self.method = method
        self.context = context
        self.metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        self.principal: Principal | None = None
        self.tenant_id: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.http_status = method.success_status
        self.emits = method.emits
        self.event_payload: Any = None
        self.events: list[tuple[str, str, Any]] = []
        self.refusal: Exception | None = None

    @cached_property
    def request_id(self) -> str:
        """The caller's request id if it is sane, else one of ours."""
        given = self.metadata.get(REQUEST_ID)
        if isinstance(given, str) and SANE_REQUEST_ID.fullmatch(given):
            return given
        return new_id()

    @property
    def is_rest(self) -> bool:
        """Whether the gateway made this call from REST."""
        return ORIGINAL_PATH in self.metadata

    @property
    def client_address(self) -> str:
        """The caller's address, as far as the gateway vouches for it; empty inside the deployment."""
        return str(self.metadata.get(CLIENT_ADDRESS, ""))

    @property
    def user_id(self) -> str | None:
        """The caller's user id, if known."""
        return self.principal.user_id if self.principal else None

    @property
    def caller(self) -> Principal:
        """The caller of an RPC that demands credentials."""
        if self.principal is None:
            raise LookupError("this RPC has no authenticate step")
        return self.principal

    @property
    def scope(self) -> Scope:
        """Whose rows this call may see."""
        caller = self.principal
        if caller is None:
            return Scope(tenant_id=self.tenant_id)
        return Scope(self.tenant_id, caller.user_id, caller.is_platform, caller.session_id)

    @property
    def writes(self) -> WriteTransaction:
        """The transaction of an RPC that changes something."""
        if not isinstance(self.transaction, WriteTransaction):
            raise TypeError("a read changes nothing")
        return self.transaction

    @property
    def reads(self) -> ReadTransaction | WriteTransaction:
        """The transaction, for reading."""
        if not isinstance(self.transaction, ReadTransaction | WriteTransaction):
            raise TypeError("this RPC has no transaction")
        return self.transaction

    def enter_tenant(self, tenant_id: str) -> None:
        """Go on in another tenant, such as the one this call is about to create."""
        self.tenant_id = tenant_id
        self.writes.bind(self.scope)

    def refuse_after_commit(self, problem: Exception) -> None:
        """Commit what this call did, such as ending a session whose token was stolen, then answer with a problem."""
        self.refusal = problem

    def emit(self, event: str, resource_id: str, payload: Any) -> None:
        """Write a further event in this call's transaction; the declared one is written by itself."""
        self.events.append((event, resource_id, payload))
