"""The personal data of a user: its export, and the operation that erases it."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import ClassVar

from google.api.httpbody_pb2 import HttpBody
from plinth.identity.v1 import privacy_pb2
from plinth.identity.v1.privacy_pb2 import ErasedUser
from plinth.operations.v1.operation_pb2 import Operation
from sqlalchemy import bindparam, exists, literal_column, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.audit import audit_entries
from server.data.connections import Result
from server.data.statements import Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.identity.account import EMAIL_OF
from server.domains.identity.auth import USER, WHO_SIGNS_IN
from server.domains.identity.passwords import Passwords
from server.domains.identity.sign_in_guard import SignInGuard
from server.json_values import JsonValue
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.jobs import DEFAULT_QUEUE
from server.kernel.live import PERSON_ERASED, Download, Downloads
from server.kernel.operations import LongJob, Work
from server.kernel.ports import Memberships
from server.kernel.privacy import Eraser, Person, Privacy, sections
from server.kernel.problems import StateForbids, Unauthenticated, Violation, broken_rules, not_found
from server.kernel.record import record_platform_change
from server.kernel.resources import EventFacts, Service

KIND = "person_erasure"
ERASE = "identity.erase_person"
REQUESTED = "user.erasure_requested"
JSON = "application/json"

_id = UUID(as_uuid=False)
ACTED = Statement(
    select(
        exists(literal_column("1"))
        .where(
            audit_entries.c.tenant_id == bindparam("tenant", type_=_id),
            audit_entries.c.actor_id == bindparam("person", type_=_id),
        )
        .label("acted")
    )
)
"""Whether a user has left a trace in a tenant. Takes `tenant` and `person`."""


class PrivacyService(Service):
    """The personal data of users."""

    descriptor = privacy_pb2.DESCRIPTOR.services_by_name["PrivacyService"]
    events: ClassVar = {
        REQUESTED: EventFacts(ErasedUser),
        PERSON_ERASED: EventFacts(ErasedUser, "A user was erased. Erase what you keep of the user elsewhere."),
    }

    def __init__(
        self,
        privacy: Privacy,
        memberships: Memberships,
        passwords: Passwords,
        guard: SignInGuard,
        *,
        downloads: Downloads,
        database: Database,
    ) -> None:
        super().__init__()
        self._privacy = privacy
        self._memberships = memberships
        self._passwords = passwords
        self._guard = guard
        self._downloads = downloads
        self._database = database

    # Export --------------------------------------------------------------------------------------------------------

    def export_own_data(self, call: Call, request: privacy_pb2.ExportOwnDataRequest) -> AsyncIterator[HttpBody]:
        """Everything of the caller, in all tenants of theirs."""
        del request
        person_id, scope = call.caller.user_id, call.scope
        if not person_id:
            raise Unauthenticated("An API key is no person: sign in.")

        def pieces(run: Callable[..., Result]) -> Iterator[bytes]:
            def run_in(tenant_id: str, statement: Statement, **parameters: object) -> Result:
                if not tenant_id:
                    return run(statement, **parameters)
                # Checks the token, and whether the session lives.
                run(EMAIL_OF, person=person_id)
                with self._database.read(scope._replace(tenant_id=tenant_id)) as transaction:
                    return transaction.run(statement, **parameters)

            with self._database.read(scope) as transaction:
                tenant_ids = self._memberships.tenants_of(transaction, person_id)
            return sections(run_in, self._privacy.exports, person_id, tenant_ids)

        return self._downloads.send(call, Download(f"person-{person_id}.json", JSON, pieces))

    def export_person(self, call: Call, request: privacy_pb2.ExportPersonRequest) -> AsyncIterator[HttpBody]:
        """Everything that a tenant holds of a member."""
        person_id, tenant_id = request.user_id.lower(), str(call.tenant_id)

        def pieces(run: Callable[..., Result]) -> Iterator[bytes]:
            with self._database.read(call.scope) as transaction:
                if self._memberships.of_user_in(transaction, person_id, tenant_id) is None:
                    raise not_found(USER, person_id)
            exports = [each for each in self._privacy.exports if "tenant_id" in each.table.c]
            return sections(lambda _, *a, **k: run(*a, **k), exports, person_id, [tenant_id])

        return self._downloads.send(call, Download(f"person-{person_id}.json", JSON, pieces))

    # Erasure -------------------------------------------------------------------------------------------------------

    def erase_own_data(self, call: Call, request: privacy_pb2.EraseOwnDataRequest) -> Operation:
        """Erase the caller everywhere, and the account."""
        person_id, tenant_id = call.caller.user_id, call.caller.tenant_id
        if not person_id:
            raise Unauthenticated("An API key is no person: sign in.")
        if tenant_id is None:
            raise StateForbids(
                "The access token carries no tenant, in which the operation would be found: switch to one.",
                metadata={"resource_type": USER, "resource": person_id, "state": "NO_TENANT"},
            )
        self._check_password(call, person_id, request.password)
        call.writes.bind(Scope(user_id=person_id))
        tenant_ids = self._memberships.tenants_of(call.writes, person_id)
        for each in tenant_ids:
            call.writes.bind(Scope(tenant_id=each, user_id=person_id))
            self._memberships.keep_an_owner(call.writes, each, person_id)
        call.tenant_id = tenant_id
        call.writes.bind(Scope(tenant_id=tenant_id, user_id=person_id))
        return _start(call, person_id, tenant_ids)

    def erase_person(self, call: Call, request: privacy_pb2.ErasePersonRequest) -> Operation:
        """Erase a user from a tenant."""
        person_id, tenant_id = request.user_id.lower(), str(call.tenant_id)
        if person_id == call.caller.user_id:
            raise StateForbids(
                "You erase yourself with EraseOwnData, which asks for your password.",
                metadata={"resource_type": USER, "resource": person_id, "state": "SELF"},
            )
        is_member = self._memberships.of_user_in(call.writes, person_id, tenant_id) is not None
        if not (is_member or call.writes.run(ACTED, tenant=tenant_id, person=person_id).one()["acted"]):
            raise not_found(USER, person_id)
        self._memberships.keep_an_owner(call.writes, tenant_id, person_id)
        return _start(call, person_id, [tenant_id])

    def _check_password(self, call: Call, person_id: str, password: str) -> None:
        email = call.writes.run(EMAIL_OF, person=person_id).one()["email"]
        row = call.writes.run(WHO_SIGNS_IN, address=email, network=call.client_network).first()
        attempt = self._guard.admit(call, email, row)
        if self._passwords.sign_in(row["password_hash"] if row else None, password) is None:
            self._guard.failed(attempt, password)
            raise broken_rules([Violation("password", "is not your password", "password.wrong")])
        self._guard.succeeded(call, attempt, person_id)


def _start(call: Call, person_id: str, tenant_ids: list[str]) -> Operation:
    operation = call.start(KIND, DEFAULT_QUEUE, ERASE, person_id=person_id, tenant_ids=tenant_ids)
    # The tenant learns that it happens, from the id alone.
    call.audience = None
    call.event_payload = ErasedUser(id=person_id)
    return operation


class PersonErasure:
    """The work of the operation."""

    def __init__(self, database: Database, memberships: Memberships, eraser: Eraser, clock: Clock) -> None:
        self._database = database
        self._memberships = memberships
        self._eraser = eraser
        self._clock = clock

    @property
    def long_job(self) -> LongJob:
        """What workers run."""
        return LongJob(ERASE, self.run, resumable=True)

    def run(self, work: Work, *, person_id: str, tenant_ids: list[str]) -> dict[str, JsonValue]:
        """Erase a person from these tenants; the account too, if there is no other tenant left."""
        with self._database.read(Scope(user_id=person_id)) as transaction:
            row = transaction.run(EMAIL_OF, person=person_id).first()
            others = set(self._memberships.tenants_of(transaction, person_id)) - set(tenant_ids)
        person = Person(person_id, row["email"] if row else "")
        tell = self._teller(person_id)
        rows = self._eraser.run(work, person, tenant_ids, account=not others, tell=tell)
        return {"erased_rows": rows}

    def _teller(self, person_id: str) -> Callable[[WriteTransaction, str], None]:
        def tell(transaction: WriteTransaction, tenant_id: str) -> None:
            record_platform_change(
                transaction,
                PERSON_ERASED,
                cause=ERASE,
                before=None,
                after=ErasedUser(id=person_id),
                now=self._clock(),
                tenant_id=tenant_id,
                security=True,
                audience=None,
            )

        return tell
