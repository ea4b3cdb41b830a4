"""One call: who calls what, in whose name, and what is sent back beside the answer."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import NoReturn, Protocol, cast

import grpc
from google.protobuf.message import Message
from psycopg.errors import UniqueViolation

from server.data.jobs import DEFER
from server.data.transactions import ReadTransaction, Scope, WriteTransaction
from server.json_values import JsonValue
from server.kernel.actors import API_KEY, USER, Actor
from server.kernel.addresses import caller_of
from server.kernel.ids import next_id
from server.kernel.messages.fields import FieldValue
from server.kernel.policy import MethodPolicy
from server.kernel.problems import Denied, Problem, Reason
from server.kernel.rates import Verdict

ConflictProblem = Callable[[UniqueViolation], Problem]
"""Makes a problem of PostgreSQL's unique violation."""

# Metadata that the gateway vouches for; it strips them from what clients send.
ORIGINAL_PATH = "x-envoy-original-path"
JSON_KEYS = "x-plinth-json-keys"
HTTP_STATUS = "x-http-status"
LIMIT = "x-plinth-limit"
REQUEST_ID = "x-request-id"
CLIENT_ADDRESS = "x-envoy-external-address"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class ServerContext(Protocol):
    """What the chain needs of a gRPC context, of threads and asyncio alike."""

    def invocation_metadata(self) -> "Iterable[tuple[str, str | bytes]] | None":
        """The metadata of the call."""

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, or None."""

    def is_active(self) -> bool:
        """Whether the caller still waits."""


class UnaryContext(ServerContext, Protocol):
    """The context of a unary RPC, which is served by a thread."""

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        """Set what is sent behind the answer."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with an error."""


class StreamContext(ServerContext, Protocol):
    """The context of a streaming RPC, which is served on asyncio."""

    async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Send what comes before the first message."""

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, str | bytes], ...]
    ) -> NoReturn:
        """End the call with an error."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a user in a session, or a program with an API key."""

    user_id: str
    """Empty for an API key."""
    session_id: str
    """Empty for an API key."""
    tenant_id: str | None
    """The tenant that the credentials carry."""
    roles: tuple[str, ...]
    """The caller's roles in that tenant."""
    is_platform: bool
    """Whether the caller administers the platform."""
    expires_at: float
    """Unix time after which the credentials count no more."""
    api_key_id: str = ""
    """Empty for a user."""
    key_hash: bytes = field(default=b"", repr=False)
    """Which secret of the API key was shown."""
    calls_per_minute: int = 0
    """The API key's own rate limit; 0 when it has none."""
    ancestor_paces: tuple[tuple[str, int], ...] = ()
    """Of the keys by which the API key was made, those with a rate limit of their own: id and calls per minute."""

    @property
    def paces(self) -> tuple[tuple[str, int], ...]:
        """The limits per minute that the API key was made with, its own and those of the keys that it comes from."""
        if not self.calls_per_minute:
            return self.ancestor_paces
        return (*self.ancestor_paces, (self.api_key_id, self.calls_per_minute))

    @property
    def credential_id(self) -> str:
        """What names the credentials: the session, or the API key with the secret that was shown."""
        return self.session_id or f"{self.api_key_id}:{self.key_hash.hex()}"

    @property
    def id(self) -> str:
        """The user, or the API key."""
        return self.user_id or self.api_key_id


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller may do in a tenant."""

    tenant_id: str
    permissions: frozenset[str]
    roles: tuple[str, ...]
    version: int | None
    """Of the tenant's access as it was loaded; None where it does not matter, for platform administrators."""
    expires_at: float = inf
    """Unix time after which it counts no more, though nothing has changed: a replaced secret's overlap is over."""


@dataclass(slots=True)
class IdempotencyKey:
    """What tells a call that is sent again."""

    name: bytes
    """A keyed hash of tenant, caller, method and key."""
    request_hash: bytes
    """A keyed hash of the request as it came."""
    secret: int = 0
    """Which of the deployment's secrets keyed both; 0 is the one that signs."""
    is_claimed: bool = False
    """Whether it was claimed along with the work, by an attempt that failed if this one sees it."""


class Call:
    """One call on its way through the chain. Steps fill it in; handlers read it."""

    transaction: ReadTransaction | WriteTransaction
    # What most calls leave as it is stands here, since every call pays for what is set in __init__.
    principal: Principal | None = None
    tenant_id: str | None = None
    access: Access | None = None
    request: FieldValue = None
    """The message that was sent, once it is parsed."""
    event_payload: Message | None = None
    etag = ""
    limit: Verdict | None = None
    limit_class = ""
    is_replay = False
    changes_nothing = False
    """Whether an update turned out to leave its resource as it was."""
    key: IdempotencyKey | None = None
    """The key of a call that has one, from when it was looked at."""
    refusal: Exception | None = None
    action = ""
    """What the audit entry names in place of the declared event: what turned out to happen."""
    target_id = ""
    """The user whose account a refused call aimed at."""
    target_tenants: tuple[str, ...] = ()
    """The tenants of that user, whose audit logs tell of the refusal."""
    collisions = 0
    """How many attempts at this call met a value that was taken (see Collision)."""
    _request_id = ""
    _actor = Actor()

    def __init__(self, method: MethodPolicy, context: ServerContext) -> None:
        self.method = method
        self.context = context
        # Only values whose names end in `-bin` are bytes, and nobody reads those here.
        self.metadata = cast("dict[str, str]", dict(context.invocation_metadata() or ()))
        self.headers: list[tuple[str, str]] = []
        self.http_status = method.success_status
        self.emits = method.emits
        self.events: list[tuple[str, str, Message]] = []
        self.stale_tags: list[str] = []
        self.changes: list[tuple[Message | None, Message | None]] = []
        self.conflicts: dict[str, ConflictProblem] = {}
        """By table: the problem of a value that another row has, for statements whose answer nobody waited for."""

    @property
    def unary_context(self) -> UnaryContext:
        """The context of a call that a thread serves."""
        return cast("UnaryContext", self.context)

    @property
    def stream_context(self) -> StreamContext:
        """The context of a call that is served on asyncio."""
        return cast("StreamContext", self.context)

    @property
    def request_id(self) -> str:
        """The caller's request id if it is sane, else one of ours."""
        if not self._request_id:
            given = self.metadata.get(REQUEST_ID)
            is_sane = isinstance(given, str) and SANE_REQUEST_ID.fullmatch(given)
            self._request_id = str(given) if is_sane else next_id()
        return self._request_id

    @property
    def is_rest(self) -> bool:
        """Whether the gateway made this call from REST."""
        return ORIGINAL_PATH in self.metadata

    @property
    def client_address(self) -> str:
        """The caller's address, as far as the gateway vouches for it; empty inside the deployment."""
        return str(self.metadata.get(CLIENT_ADDRESS, ""))

    @property
    def client_network(self) -> str:
        """What counts as the same caller: the address, or the /64 of an IPv6 address. Empty inside the deployment."""
        return caller_of(self.client_address)

    @property
    def is_active(self) -> bool:
        """Whether somebody still waits for the answer."""
        return bool(self.context.is_active())

    @property
    def time_left(self) -> float | None:
        """Seconds until the caller's deadline, which over REST is the gateway's; None without one."""
        return self.context.time_remaining()

    @property
    def actor_id(self) -> str | None:
        """The id of the user or the API key that calls, if known."""
        return self.principal.id if self.principal else None

    @property
    def actor(self) -> Actor:
        """Who calls, as the audit log names them."""
        principal = self.principal
        if principal is None:
            return self._actor
        if principal.api_key_id:
            return Actor(API_KEY, principal.api_key_id)
        return Actor(USER, principal.user_id, principal.session_id or None)

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
        version = self.access.version if self.access else None
        # Access that has a version is a member's: who administered the platform when the token was made does no longer.
        is_platform = caller.is_platform and version is None
        return Scope(self.tenant_id, caller.user_id or None, is_platform, caller.session_id or None, version)

    @property
    def writes(self) -> WriteTransaction:
        """The transaction of an RPC that changes something."""
        if not isinstance(self.transaction, WriteTransaction):
            raise TypeError("a read changes nothing")
        return self.transaction

    @property
    def reads(self) -> ReadTransaction | WriteTransaction:
        """The transaction, for reading."""
        return self.transaction

    @property
    def leaves_nothing(self) -> bool:
        """Whether nothing was changed by this call, nor by anything else that it did: no event and no entry is due."""
        return self.changes_nothing and not self.changes and not self.events

    def enter_tenant(self, tenant_id: str) -> None:
        """Go on in another tenant, such as the one this call is about to create."""
        self.tenant_id = tenant_id
        self.writes.bind(self.scope)

    def invalidate(self, tag: str) -> None:
        """Drop what is cached under a further tag; those of the policy are dropped by themselves."""
        self.stale_tags.append(tag)

    @property
    def limit_headers(self) -> list[tuple[str, str]]:
        """What the gateway makes rate limit headers of: class, limit, period, remaining, seconds until reset."""
        verdict = self.limit
        if verdict is None:
            return []
        rate = verdict.rate
        told = f"{rate.calls};{ceil(rate.period)};{verdict.remaining};{ceil(verdict.reset_after)}"
        return [(LIMIT, f"{self.limit_class};{told}")]

    def forget_effects(self) -> None:
        """Go back to where nothing had been done yet, for a call that is tried again."""
        self.headers.clear()
        self.events.clear()
        self.changes.clear()
        self.conflicts.clear()
        self.stale_tags.clear()
        self.event_payload = None
        self.refusal = None
        self.action = ""
        self.changes_nothing = False
        self.emits = self.method.emits
        self.http_status = self.method.success_status

    def check_may_grant(self, permissions: Iterable[str]) -> None:
        """Refuse to hand out what the caller lacks. Raises Denied, naming the first permission that is lacking."""
        held = self.access.permissions if self.access else frozenset()
        for permission in sorted(set(permissions) - held):
            raise Denied(
                f"Nobody grants what they lack themselves: you lack `{permission}`.",
                reason=Reason.REASON_GRANT_EXCEEDS_OWN,
                metadata={"permission": permission},
            )

    def refuse_after_commit(self, problem: Exception) -> None:
        """Commit what this call did, such as ending a session whose token was stolen, then answer with a problem."""
        self.refusal = problem

    def note_change(self, before: Message | None, after: Message | None) -> None:
        """Tell the audit entry what was changed. Standard methods do so by themselves."""
        self.changes.append((before, after))

    def note_actor(self, user_id: str, session_id: str | None = None) -> None:
        """Tell the audit entry who turned out to call, where no credentials told: somebody who logs in."""
        self._actor = Actor(USER, user_id, session_id)

    def note_target(self, user_id: str, tenant_ids: Iterable[str]) -> None:
        """Tell whose account was aimed at by a call that is about to be refused, and where that user belongs."""
        self.target_id, self.target_tenants = user_id, tuple(tenant_ids)

    def enqueue(self, queue: str, task: str, **arguments: JsonValue) -> None:
        """Have a job done once this call's transaction is committed. `arguments` become JSON, and hold no secret."""
        self.writes.queue(DEFER, queue=queue, task=task, arguments=arguments)

    def emit(self, event: str, resource_id: str, payload: Message) -> None:
        """Write a further event in this call's transaction; the declared one is written by itself."""
        self.events.append((event, resource_id, payload))
