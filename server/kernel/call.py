"""One call: the RPC, its caller, its effects, and the metadata sent beside the answer."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, cast

import grpc
from google.protobuf.message import Message
from plinth.operations.v1.operation_pb2 import Operation
from psycopg.errors import UniqueViolation

from server.data.jobs import DEFER
from server.data.transactions import ANY_VERSION, ReadTransaction, Scope, WriteTransaction
from server.json_values import JsonValue
from server.kernel.actors import API_KEY, PROVIDER, USER, Actor
from server.kernel.addresses import caller_of
from server.kernel.clock import utc_now
from server.kernel.ids import next_id
from server.kernel.messages.fields import FieldValue
from server.kernel.policy import Kind, MethodPolicy
from server.kernel.problems import Denied, Problem, Reason
from server.kernel.rates import Verdict
from server.kernel.starting import QUEUED, Task, start_operation

if TYPE_CHECKING:
    from server.kernel.sinks import Upload

ConflictProblem = Callable[[UniqueViolation], Problem]
"""Makes a problem from a unique violation of PostgreSQL."""
Record = Callable[["Call"], Message]
"""Writes an outcome in the second transaction of a call. Returns the answer."""
Continuation = Callable[[], Record]
"""Acts outside any transaction, between the two transactions of a call. Returns what writes the outcome."""

# Metadata that the gateway vouches for: it strips these keys from requests of clients.
ORIGINAL_PATH = "x-envoy-original-path"
JSON_KEYS = "x-plinth-json-keys"
VALIDATE_ONLY = "x-validate-only"
"""The header of a call that is only tried (AIP-163): `true` or `false`."""
AGENT = "x-plinth-agent"
"""The program through which a person or an API key acts: set by processes of the deployment alone."""
CONTENT_ENCODING = "x-plinth-content-encoding"
HTTP_STATUS = "x-http-status"
CONTENT_LENGTH = "x-plinth-content-length"
"""The length that the gateway tells of an answer which is sent in pieces."""
IS_HEAD = "x-plinth-head"
"""`true` for a call of HEAD, whose answer needs no body."""
LIMIT = "x-plinth-limit"
REQUEST_ID = "x-request-id"
CLIENT_ADDRESS = "x-envoy-external-address"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class ServerContext(Protocol):
    """The part of a gRPC context that the chain uses, for threads and asyncio alike."""

    def invocation_metadata(self) -> "Iterable[tuple[str, str | bytes]] | None":
        """The metadata of the call."""

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, or None without one."""

    def is_active(self) -> bool:
        """Whether the caller still waits for the answer."""


class UnaryContext(ServerContext, Protocol):
    """The context of a unary RPC, which runs in a thread."""

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        """Set the metadata that follows the answer."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with an error."""


class StreamContext(ServerContext, Protocol):
    """The context of a streaming RPC, which runs on asyncio."""

    async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Send the metadata that precedes the first message."""

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, str | bytes], ...]
    ) -> NoReturn:
        """End the call with an error."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller: a user in a session, or a program with an API key."""

    user_id: str
    """Empty for an API key."""
    session_id: str
    """Empty for an API key."""
    tenant_id: str | None
    """The tenant that the credentials carry."""
    roles: tuple[str, ...]
    """The caller's roles in that tenant."""
    is_platform: bool
    """Whether the caller is a platform administrator."""
    expires_at: float
    """Unix time at which the credentials expire."""
    proven_at: float = 0.0
    """Unix time at which the user last proved who they are; 0 for an API key."""
    api_key_id: str = ""
    """Empty for a user."""
    key_hash: bytes = field(default=b"", repr=False)
    """The hash of the secret that was shown. An API key has two valid secrets during a rotation."""
    calls_per_minute: int = 0
    """The rate limit of the API key itself; 0 if it has none."""
    ancestor_paces: tuple[tuple[str, int], ...] = ()
    """Id and calls per minute of each ancestor of the API key that has a rate limit."""

    @property
    def paces(self) -> tuple[tuple[str, int], ...]:
        """The limits per minute that bind the API key: those of its ancestors and its own."""
        if not self.calls_per_minute:
            return self.ancestor_paces
        return (*self.ancestor_paces, (self.api_key_id, self.calls_per_minute))

    @property
    def credential_id(self) -> str:
        """The id of the credentials: the session, or the API key with the hash of the secret that was shown.

        A user without a session, on whose behalf a job calls, is its own.
        """
        return self.session_id or f"{self.id}:{self.key_hash.hex()}"

    @property
    def id(self) -> str:
        """The id of the user or the API key."""
        return self.user_id or self.api_key_id


@dataclass(frozen=True, slots=True)
class Access:
    """The permissions of a caller in a tenant."""

    tenant_id: str
    permissions: frozenset[str]
    roles: tuple[str, ...]
    version: int | None
    """The version of the tenant's access at loading; None for platform administrators, where it does not matter."""
    expires_at: float = inf
    """Unix time at which it expires without any change: the end of the overlap of a replaced secret."""
    subdomain: str = ""
    """The tenant's, when it was loaded. Empty for platform administrators."""


class Emission(NamedTuple):
    """An event that a call writes in its transaction."""

    type: str
    resource_id: str
    payload: Message
    audience: str | None
    """The user whose event it is; None for an event of the whole tenant."""


@dataclass(slots=True)
class IdempotencyKey:
    """The key that identifies a retried call."""

    name: bytes
    """A keyed hash of tenant, caller, method and key."""
    request_hash: bytes
    """A keyed hash of the request as it was received."""
    secret: int = 0
    """Number of the deployment's secret that keyed both hashes; 0 is the current one."""
    is_claimed: bool = False
    """Set by the first attempt, which claims the key along with its work. An attempt that finds it set follows a failed
    one."""


class Call:
    """One call on its way through the chain. Steps set its attributes; handlers read them."""

    transaction: ReadTransaction | WriteTransaction
    # Defaults that most calls keep are class attributes, because every call pays for each assignment in __init__.
    principal: Principal | None = None
    tenant_id: str | None = None
    access: Access | None = None
    request: FieldValue = None
    """The request message, once it is parsed."""
    event_payload: Message | None = None
    subject_id = ""
    """The resource that the declared event is about, where its payload has no id."""
    audience: str | None = None
    """The user who owns what the call changes, and whose its events are; None if it belongs to the whole tenant."""
    etag = ""
    limit: Verdict | None = None
    limit_class = ""
    is_replay = False
    changes_nothing = False
    """Whether an update left its resource unchanged."""
    key: IdempotencyKey | None = None
    """The idempotency key of the call, set once it was looked up."""
    refusal: Exception | None = None
    action = ""
    """The action that the audit entry names instead of the declared event, where only the handler knows it."""
    target_id = ""
    """The user whose account a refused call targeted."""
    target_tenants: tuple[str, ...] = ()
    """The tenants of that user. Their audit logs record the refusal."""
    continuation: Continuation | None = None
    """The step that the handler has registered (see `then`)."""
    keep_answer: Callable[[Message], None] | None = None
    """Replaces the answer kept under the idempotency key of a call that goes on in a second transaction."""
    uploads: "tuple[Upload, ...]" = ()
    """The files that have arrived, in an upload."""
    collisions = 0
    """Number of attempts at this call that chose a value which was taken (see Collision)."""
    _request_id = ""
    _actor = Actor()

    def __init__(self, method: MethodPolicy, context: ServerContext) -> None:
        self.method = method
        self.context = context
        # Only values whose names end in `-bin` are bytes, and no step reads those.
        self.metadata = cast("dict[str, str]", dict(context.invocation_metadata() or ()))
        self.headers: list[tuple[str, str]] = []
        self.http_status = method.success_status
        self.emits = method.emits
        self.events: list[Emission] = []
        self.stale_tags: list[str] = []
        self.changes: list[tuple[Message | None, Message | None]] = []
        self.conflicts: dict[str, ConflictProblem] = {}
        """By table: the problem of a value that another row has, for statements whose result is read later."""

    @property
    def unary_context(self) -> UnaryContext:
        """The context of a call that runs in a thread."""
        return cast("UnaryContext", self.context)

    @property
    def stream_context(self) -> StreamContext:
        """The context of a call that runs on asyncio."""
        return cast("StreamContext", self.context)

    @property
    def request_id(self) -> str:
        """The caller's request id if it is well-formed, else a generated one."""
        if not self._request_id:
            given = self.metadata.get(REQUEST_ID)
            is_sane = isinstance(given, str) and SANE_REQUEST_ID.fullmatch(given)
            self._request_id = str(given) if is_sane else next_id()
        return self._request_id

    @property
    def is_rest(self) -> bool:
        """Whether the gateway translated this call from REST."""
        return ORIGINAL_PATH in self.metadata

    @property
    def client_address(self) -> str:
        """The address of the caller, as the gateway vouches for it. Empty for calls from inside the deployment."""
        return str(self.metadata.get(CLIENT_ADDRESS, ""))

    @property
    def user_agent(self) -> str:
        """The program that calls, by its own word: an agent, or what sent the request."""
        return str(self.metadata.get(AGENT) or self.metadata.get("user-agent", ""))

    @property
    def client_network(self) -> str:
        """The identity of the caller's network: the address, or the /64 of an IPv6 address.

        Empty inside the deployment.
        """
        return caller_of(self.client_address)

    @property
    def is_active(self) -> bool:
        """Whether the caller still waits for the answer."""
        return bool(self.context.is_active())

    @property
    def time_left(self) -> float | None:
        """Seconds until the deadline of the call; None without one. Over REST it is the deadline of the gateway."""
        return self.context.time_remaining()

    @property
    def actor_id(self) -> str | None:
        """The id of the calling user or API key, if known."""
        return self.principal.id if self.principal else None

    @property
    def actor(self) -> Actor:
        """The caller as the audit log names it."""
        principal = self.principal
        if principal is None:
            return self._actor
        if principal.api_key_id:
            return Actor(API_KEY, principal.api_key_id)
        return Actor(USER, principal.user_id, principal.session_id or None)

    @property
    def caller(self) -> Principal:
        """The caller of an RPC that requires credentials."""
        if self.principal is None:
            raise LookupError("this RPC has no authenticate step")
        return self.principal

    @property
    def scope(self) -> Scope:
        """The scope of row-level security: the rows that this call may see."""
        caller = self.principal
        if caller is None:
            is_signed = self._actor.kind == PROVIDER
            return Scope(tenant_id=self.tenant_id, access_version=ANY_VERSION if is_signed else None)
        version = self.access.version if self.access else None
        # Access with a version is that of a member. Such a caller no longer administers the platform, even if the token
        # says so.
        is_platform = caller.is_platform and version is None
        return Scope(self.tenant_id, caller.user_id or None, is_platform, caller.session_id or None, version)

    @property
    def writes(self) -> WriteTransaction:
        """The transaction of an RPC that writes."""
        if not isinstance(self.transaction, WriteTransaction):
            raise TypeError("a read changes nothing")
        return self.transaction

    @property
    def reads(self) -> ReadTransaction | WriteTransaction:
        """The transaction, for reading."""
        return self.transaction

    @property
    def is_trial(self) -> bool:
        """Whether the caller only wants to know what the call would answer. Nothing of it is kept."""
        return self.metadata.get(VALIDATE_ONLY) == "true"

    @property
    def leaves_nothing(self) -> bool:
        """Whether this call changed nothing and emitted no event, so that no event and no audit entry is due."""
        return self.changes_nothing and not self.changes and not self.events

    def enter_tenant(self, tenant_id: str) -> None:
        """Continue in another tenant, such as the one that this call is about to create."""
        self.tenant_id = tenant_id
        self.writes.bind(self.scope)

    def invalidate(self, tag: str) -> None:
        """Invalidate a further tag. The tags of the policy are invalidated without it."""
        self.stale_tags.append(tag)

    @property
    def limit_headers(self) -> list[tuple[str, str]]:
        """The metadata for the gateway's rate limit headers: class, limit, period, remaining, seconds until reset."""
        verdict = self.limit
        if verdict is None:
            return []
        rate = verdict.rate
        told = f"{rate.calls};{ceil(rate.period)};{verdict.remaining};{ceil(verdict.reset_after)}"
        return [(LIMIT, f"{self.limit_class};{told}")]

    def forget_effects(self) -> None:
        """Drop the effects of a failed attempt, before the call is tried again."""
        self.headers.clear()
        self.events.clear()
        self.changes.clear()
        self.conflicts.clear()
        self.stale_tags.clear()
        self.event_payload = None
        self.audience = None
        self.subject_id = ""
        self.refusal = None
        self.action = ""
        self.changes_nothing = False
        self.continuation = None
        self.keep_answer = None
        self.emits = self.method.emits
        self.http_status = self.method.success_status

    def then(self, step: Continuation) -> None:
        """Act outside any transaction after this call's is committed, such as by calling a provider.

        The step runs once, on the same thread. It returns the function that writes what came of it in a second
        transaction, and whose result becomes the answer. Until then the idempotency key keeps what the handler
        returned, so a repeated call gets that and acts no second time. If the step fails, the caller gets it too, and
        the handler has enqueued a job that finds out; a Problem that the step raises becomes the answer.

        Raises TypeError in a standard method, whose handler may run twice, and in a read.
        """
        if self.method.kind is not Kind.CUSTOM or self.method.read_only:
            raise TypeError(f"{self.method.path} is a standard method or a read: only custom mutations go on")
        self.continuation = step

    def begin_outcome(self) -> None:
        """Forget the effects that the first transaction has committed, before the second one has its own.

        The second transaction emits only what its function says. A function that finds its outcome written already,
        such as by the job, sets `changes_nothing`.
        """
        self.events.clear()
        self.changes.clear()
        self.stale_tags.clear()
        self.event_payload = None
        self.changes_nothing = False
        self.continuation = None
        self.action = ""
        self.emits = ""

    def check_may_grant(self, permissions: Iterable[str]) -> None:
        """Refuse to grant permissions that the caller lacks. Raises Denied, which names the first of them."""
        held = self.access.permissions if self.access else frozenset()
        for permission in sorted(set(permissions) - held):
            raise Denied(
                f"Nobody grants what they lack themselves: you lack `{permission}`.",
                reason=Reason.REASON_GRANT_EXCEEDS_OWN,
                metadata={"permission": permission},
            )

    def refuse_after_commit(self, problem: Exception) -> None:
        """Commit the effects of this call, such as the end of a stolen session, and answer with a problem."""
        self.refusal = problem

    def note_change(self, before: Message | None, after: Message | None) -> None:
        """Add a change to the audit entry. Standard methods call it themselves."""
        self.changes.append((before, after))

    def note_actor(self, user_id: str, session_id: str | None = None) -> None:
        """Name the actor for the audit entry of a call without credentials, such as a log-in."""
        self._actor = Actor(USER, user_id, session_id)

    def enter_signed(self, tenant_id: str, key_id: str) -> None:
        """Continue in the tenant of a call that a provider has signed, with a key of it as the actor."""
        self.tenant_id, self._actor = tenant_id, Actor(PROVIDER, key_id)

    def note_target(self, user_id: str, tenant_ids: Iterable[str]) -> None:
        """Name the user whose account a refused call targeted, and the tenants of that user."""
        self.target_id, self.target_tenants = user_id, tuple(tenant_ids)

    def enqueue(self, queue: str, task: str, **arguments: JsonValue) -> None:
        """Enqueue a job in this call's transaction. `arguments` become JSON and must not contain secrets."""
        self.writes.queue(DEFER, queue=queue, task=task, arguments=arguments)

    def start(self, kind: str, queue: str, task: str, /, **arguments: JsonValue) -> Operation:
        """Start long work in this call's transaction: an operation of the caller, and the job `task` that does it.

        `kind` is what callers see of it. `arguments` become JSON and must not contain secrets. An RPC may answer with
        the operation, whose event is then the caller's alone.
        """
        owner_id = self.caller.id
        operation = start_operation(
            self.writes,
            str(self.tenant_id),
            kind,
            Task(queue, task, arguments),
            utc_now(),
            owner_id=owner_id,
            request_id=self.request_id,
        )
        if self.method.descriptor.output_type.full_name == Operation.DESCRIPTOR.full_name:
            self.audience = owner_id
        self.events.append(Emission(QUEUED, operation.id, operation, owner_id))
        return operation

    def emit(self, event: str, resource_id: str, payload: Message) -> None:
        """Write a further event in this call's transaction. The declared event is written without it.

        It has the audience that the call has now.
        """
        self.events.append(Emission(event, resource_id, payload, self.audience))
