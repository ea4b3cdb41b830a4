"""idempotency: a call that is sent again with its key gets the first answer, and has no second effect.

The key is the header `Idempotency-Key` (over gRPC also `request_id`), scoped to tenant, caller and method. The answer
is stored in the transaction of the effect, so that neither exists without the other; the step is therefore inside the
transaction. A lock of that transaction shows whether the first call is still running.

Most calls with a key are the first. The key is therefore claimed along with the work, without a round trip of its own.
If it turns out to be taken, PostgreSQL refuses the whole transaction, and the call starts again by looking up the first
answer. Handlers of custom methods wait until the key is claimed, because their effects may reach beyond a transaction.

A call that goes on after its commit (`Call.then`) keeps the answer of its first transaction with the key, and replaces
it in its second. A call that is sent again between the two, or after a crash, gets the first.
"""

import secrets
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import cast

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.data.idempotency import CLAIM, FIND, KEEP, TRY_LOCK
from server.data.statements import Row
from server.kernel.call import Call, IdempotencyKey
from server.kernel.chain import Answer, Request, Stream, Unary, serialise
from server.kernel.clock import Clock, utc_now
from server.kernel.keys import derive_key, sign
from server.kernel.messages.fields import FieldValue
from server.kernel.policy import Kind, MethodPolicy
from server.kernel.problems import Conflict, Malformed, Problem, Reason, RuleViolated
from server.secrets import Secrets

HEADERS = ("idempotency-key", "request_id", "request-id")
LONGEST_KEY = 255
LIFETIME = timedelta(hours=24)
NONCE_BYTES = 12
RETRY_AFTER = 1.0


class FirstAnswer:
    """The answer of the first call: read like its message, sent byte for byte.

    Serialising a parsed message again may change the order of map entries.
    """

    def __init__(self, message: Message, body: bytes) -> None:
        self._message = message
        self._body = body

    def __getattr__(self, name: str) -> FieldValue:
        return getattr(self._message, name)

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages name it
        """The bytes of the first answer."""
        return self._body


class Idempotency:
    """Runs a mutation with a key once, and replays its answer."""

    name = "idempotency"

    def __init__(self, secrets: Secrets, clock: Clock = utc_now) -> None:
        self._keys = [_Keys(secret) for secret in secrets.accepted]
        self._clock = clock

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """Streams change nothing, so they are left alone."""
        del method
        return proceed

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Return the answer of the first call, or store this one's."""
        if method.read_only:
            return proceed
        answer_class = GetMessageClass(method.descriptor.output_type)
        # Standard methods change only rows. The effects of custom methods may reach beyond a transaction.
        waits = method.kind is Kind.CUSTOM

        def idempotent(call: Call, request: Request) -> Answer:
            key = call.key or self._key(call, request)
            if key is None:
                return proceed(call, request)
            call.key = key
            if not key.is_claimed:
                # Only once: after a failure for whatever reason, the next attempt looks for the first answer.
                key.is_claimed = True
                for form in self._forms(call, request, key):
                    call.writes.queue(CLAIM, lock=_lock_of(form.name), id=form.name, now=self._clock())
                if waits:
                    call.writes.settle()
            elif found := self._first(call, request, key):
                return self._replay(call, *found, answer_class)
            try:
                answer = proceed(call, request)
            except Problem:
                # If the key is taken, settle() raises KeyTaken, which takes precedence over this problem.
                with suppress(psycopg.Error):
                    call.writes.settle()
                raise
            if call.refusal is None:
                self._keep(call, key, answer)
            return answer

        return idempotent

    def _key(self, call: Call, request: Request) -> IdempotencyKey | None:
        key = idempotency_key(call)
        # A trial leaves nothing to replay.
        return self._form(call, request, key, 0) if key and not call.is_trial else None

    def _form(self, call: Call, request: Request, key: str, secret: int) -> IdempotencyKey:
        """The key as hashed with one of the secrets."""
        parts = (call.tenant_id or "", call.actor_id or "", call.method.path, key)
        keys = self._keys[secret]
        name = sign(keys.names, "\0".join(parts).encode())
        return IdempotencyKey(
            name, sign(keys.requests, name + request.SerializeToString(deterministic=True)), secret=secret
        )

    def _forms(self, call: Call, request: Request, key: IdempotencyKey) -> list[IdempotencyKey]:
        """The key hashed with every secret, in an order that is the same on all machines.

        During a rotation the first call may have reached a machine on which another secret is the current one. All
        machines take the lock of the first hash in this order before any other.
        """
        if len(self._keys) == 1:
            return [key]
        text = idempotency_key(call)
        others = [self._form(call, request, text, secret) for secret in range(1, len(self._keys))]
        return sorted([key, *others], key=lambda form: form.name)

    def _first(self, call: Call, request: Request, key: IdempotencyKey) -> tuple[Row, IdempotencyKey] | None:
        """The stored answer of the first call, and the key as hashed by that call's machine."""
        for form in self._forms(call, request, key):
            if known := self._find(call, form.name):
                return known, form
        return None

    def _find(self, call: Call, name: bytes) -> Row | None:
        """The stored answer of the first call. Raises Conflict while that call runs."""
        # FIND is a statement of its own, so that it sees everything committed before the lock was released.
        mine, found = call.writes.run_both(TRY_LOCK, FIND, lock=_lock_of(name), id=name, now=self._clock())
        if not mine.value():
            raise Conflict(
                "The first call with this idempotency key is still running.",
                reason=Reason.REASON_IDEMPOTENT_CALL_RUNNING,
                retry_after=RETRY_AFTER,
            )
        return found.first()

    def _replay(self, call: Call, known: Row, key: IdempotencyKey, answer_class: type[Message]) -> Answer:
        if known["request_hash"] != key.request_hash:
            raise RuleViolated(
                "This idempotency key was used for another request before.",
                reason=Reason.REASON_IDEMPOTENCY_KEY_REUSED,
            )
        sealed = known["answer"]
        body = self._keys[key.secret].cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], key.name)
        call.emits = ""
        call.is_replay = True
        call.http_status = known["http_status"]
        return cast("Message", FirstAnswer(answer_class.FromString(body), body))

    def _keep(self, call: Call, key: IdempotencyKey, answer: Answer) -> None:
        if call.continuation is not None:
            call.keep_answer = partial(self._keep, call, key)
        nonce = secrets.token_bytes(NONCE_BYTES)
        call.writes.queue(
            KEEP,
            id=key.name,
            request_hash=key.request_hash,
            http_status=call.http_status,
            answer=nonce + self._keys[key.secret].cipher.encrypt(nonce, serialise(answer), key.name),
            expire_time=self._clock() + LIFETIME,
        )


class _Keys:
    """The keys that one secret of the deployment gives for idempotency."""

    def __init__(self, secret: bytes) -> None:
        self.names = derive_key(secret, "idempotency name")
        # Keyed too: a request may hold a password, which could be guessed from a plain hash.
        self.requests = derive_key(secret, "idempotency request")
        self.cipher = AESGCM(derive_key(secret, "idempotency answer"))


def _lock_of(name: bytes) -> int:
    """The lock number: the first 8 bytes of a keyed hash. Another key shares it with a chance of one in 2**64."""
    return int.from_bytes(name[:8], "big", signed=True)


def idempotency_key(call: Call) -> str:
    """The key of a call, or empty text. Raises Malformed for a key that is too long or not printable ASCII."""
    names = HEADERS[:1] if call.is_rest else HEADERS
    key = next((value for name in names if (value := call.metadata.get(name))), "")
    if key and not (isinstance(key, str) and len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Malformed(f"An idempotency key is 1 to {LONGEST_KEY} printable ASCII characters.")
    return key
