"""The personal data of a user: its export, and the operation that erases it."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import ClassVar, NamedTuple

from google.api.httpbody_pb2 import HttpBody
from plinth.identity.v1 import privacy_pb2
from plinth.identity.v1.privacy_pb2 import ErasedUser
from plinth.operations.v1.operation_pb2 import Operation
from sqlalchemy import bindparam, exists, literal_column, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.audit import audit_entries
from server.data.connections import Result
from server.data.jobs import DEFER_IN
from server.data.statements import Statement
from server.data.transactions import Database, Scope, Transaction, WriteTransaction
from server.domains.identity.account import ACCOUNT_OF
from server.domains.identity.password_check import PasswordCheck
from server.domains.identity.user_rows import USER
from server.json_values import JsonValue
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.jobs import DEFAULT_QUEUE, Job
from server.kernel.live import PERSON_ERASED
from server.kernel.operations import LongJob, Work
from server.kernel.ports import Memberships
from server.kernel.privacy import Eraser, Person, Privacy, Tell, Unwatched, sections
from server.kernel.problems import StateForbids, not_found
from server.kernel.record import record_platform_change
from server.kernel.resources import EventFacts, Service
from server.kernel.transfers import Download, Downloads

KIND = "person_erasure"
ERASE, ERASE_REST = "identity.erase_person", "identity.erase_rest"
UNDER_WAY = timedelta(minutes=10)
"""What was under way during an erasure has ended after this time: calls, attempts of deliveries, and refusals that
wait in memory to be written."""
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
        check: PasswordCheck,
        *,
        downloads: Downloads,
        database: Database,
    ) -> None:
        super().__init__()
        self._privacy = privacy
        self._memberships = memberships
        self._check = check
        self._downloads = downloads
        self._database = database

    # Export --------------------------------------------------------------------------------------------------------

    def export_own_data(self, call: Call, request: privacy_pb2.ExportOwnDataRequest) -> AsyncIterator[HttpBody]:
        """Everything of the caller, in all tenants of theirs."""
        del request
        person_id, scope = call.caller.user_id, call.scope

        def pieces(run: Callable[..., Result]) -> Iterator[bytes]:
            def run_in(tenant_id: str, statement: Statement, **parameters: object) -> Result:
                if not tenant_id:
                    return run(statement, **parameters)
                # Checks the token, and whether the session lives.
                run(ACCOUNT_OF, person=person_id)
                with self._database.read(scope._replace(tenant_id=tenant_id)) as transaction:
                    return transaction.run(statement, **parameters)

            with self._database.read(scope) as transaction:
                tenant_ids = self._memberships.tenants_of(transaction, person_id)
            return sections(run_in, self._privacy.exports, person_id, tenant_ids)

        return self._downloads.send(call, Download(f"person-{person_id}.json", JSON, pieces))

    def export_person(self, call: Call, request: privacy_pb2.ExportPersonRequest) -> AsyncIterator[HttpBody]:
        """Everything that a tenant holds of a user."""
        person_id, tenant_id = request.user_id.lower(), str(call.tenant_id)

        def pieces(run: Callable[..., Result]) -> Iterator[bytes]:
            with self._database.read(call.scope) as transaction:
                self._check_known(transaction, person_id, tenant_id)
            exports = [each for each in self._privacy.exports if "tenant_id" in each.table.c]
            return sections(lambda _, *a, **k: run(*a, **k), exports, person_id, [tenant_id])

        return self._downloads.send(call, Download(f"person-{person_id}.json", JSON, pieces))

    # Erasure -------------------------------------------------------------------------------------------------------

    def erase_own_data(self, call: Call, request: privacy_pb2.EraseOwnDataRequest) -> Operation:
        """Erase the caller everywhere, and the account."""
        person_id, tenant_id = call.caller.user_id, call.caller.tenant_id
        self._check.demand(call, "password", request.password)
        call.writes.bind(Scope(user_id=person_id))
        tenant_ids = self._memberships.tenants_of(call.writes, person_id)
        call.writes.bind(Scope(platform=True))
        self._memberships.keep_owners(call.writes, tenant_ids, person_id)
        if not tenant_ids:
            return _start_outside(call, person_id)
        call.tenant_id = tenant_id if tenant_id in tenant_ids else tenant_ids[0]
        call.writes.bind(Scope(tenant_id=call.tenant_id, user_id=person_id))
        return _start(call, person_id, tenant_ids, ends_account=True)

    def erase_person(self, call: Call, request: privacy_pb2.ErasePersonRequest) -> Operation:
        """Erase a user from a tenant."""
        person_id, tenant_id = request.user_id.lower(), str(call.tenant_id)
        if person_id == call.caller.user_id:
            raise StateForbids(
                "You erase yourself with EraseOwnData, which asks for your password.",
                metadata={"resource_type": USER, "resource": person_id, "state": "SELF"},
            )
        is_member = self._check_known(call.writes, person_id, tenant_id)
        self._memberships.keep_owners(call.writes, [tenant_id], person_id)
        row = call.writes.run(ACCOUNT_OF, person=person_id).first()
        is_platform = row is not None and row["is_platform"]
        return _start(call, person_id, [tenant_id], ends_account=is_member and not is_platform)

    def _check_known(self, transaction: Transaction, person_id: str, tenant_id: str) -> bool:
        """Whether a user is a member. Raises NotFound if the user has left no trace in the tenant either."""
        is_member = self._memberships.of_user_in(transaction, person_id, tenant_id) is not None
        if not (is_member or transaction.run(ACTED, tenant=tenant_id, person=person_id).one()["acted"]):
            raise not_found(USER, person_id)
        return is_member


def _start(call: Call, person_id: str, tenant_ids: list[str], *, ends_account: bool) -> Operation:
    arguments: dict[str, JsonValue] = {
        "person_id": person_id,
        "tenant_ids": [*tenant_ids],
        "ends_account": ends_account,
    }
    operation = call.start(KIND, DEFAULT_QUEUE, ERASE, **arguments)
    # The tenant learns that it happens, from the id alone.
    call.audience = None
    call.event_payload = ErasedUser(id=person_id)
    return operation


def _start_outside(call: Call, person_id: str) -> Operation:
    """Erase a user of no tenant, by a job: operations belong to tenants. The answer tells what it does, and no id."""
    call.writes.bind(Scope(user_id=person_id))
    call.enqueue(DEFAULT_QUEUE, ERASE_REST, person_id=person_id, tenant_ids=[], ends_account=True)
    call.subject_id = person_id
    call.event_payload = ErasedUser(id=person_id)
    return Operation(owner_id=person_id, kind=KIND, state=Operation.STATE_QUEUED, request_id=call.request_id)


class Asked(NamedTuple):
    """What the arguments of a job ask for."""

    person_id: str
    tenant_ids: list[str]
    ends_account: bool


class PersonErasure:
    """The work of the operation, and of what follows it."""

    def __init__(self, database: Database, memberships: Memberships, eraser: Eraser, clock: Clock) -> None:
        self._database = database
        self._memberships = memberships
        self._eraser = eraser
        self._clock = clock

    @property
    def long_job(self) -> LongJob:
        """What workers run."""
        return LongJob(ERASE, self.run, resumable=True)

    @property
    def job(self) -> Job:
        """What workers run for what an operation could not see yet, and for users of no tenant."""
        return Job(ERASE_REST, self.erase_rest, timeout=1800.0)

    def run(self, work: Work, *, person_id: str, tenant_ids: list[str], ends_account: bool) -> dict[str, JsonValue]:
        """Erase a person from these tenants; with `ends_account` the account too, if there is no other tenant left."""
        asked = Asked(person_id, tenant_ids, ends_account)
        return {"erased_rows": self._erase(work, asked, self._teller(asked))}

    def erase_rest(self, *, person_id: str, tenant_ids: list[str], ends_account: bool) -> None:
        """Erase again what came late: with calls and deliveries that were under way, and from memory.

        A tenant that the person has joined anew meanwhile is left alone.
        """
        with self._database.read(Scope(user_id=person_id)) as transaction:
            joined = self._memberships.tenants_of(transaction, person_id)
        left = [tenant_id for tenant_id in tenant_ids if tenant_id not in joined]
        self._erase(Unwatched(self._database), Asked(person_id, left, ends_account), lambda *_: None)

    def _erase(self, batches: Work | Unwatched, asked: Asked, tell: Tell) -> int:
        with self._database.read(Scope(user_id=asked.person_id)) as transaction:
            row = transaction.run(ACCOUNT_OF, person=asked.person_id).first()
            others = set(self._memberships.tenants_of(transaction, asked.person_id)) - set(asked.tenant_ids)
        person = Person(asked.person_id, row["email"] if row else "")
        account = asked.ends_account and not others
        return self._eraser.run(batches, person, asked.tenant_ids, account=account, tell=tell)

    def _teller(self, asked: Asked) -> Tell:
        def tell(transaction: WriteTransaction, tenant_id: str) -> None:
            if tenant_id == asked.tenant_ids[-1]:
                # Arguments of jobs are JSON.
                arguments = {**asked._asdict(), "tenant_ids": [*asked.tenant_ids]}
                transaction.queue(DEFER_IN, queue=DEFAULT_QUEUE, task=ERASE_REST, arguments=arguments, delay=UNDER_WAY)
            record_platform_change(
                transaction,
                PERSON_ERASED,
                cause=ERASE,
                before=None,
                after=ErasedUser(id=asked.person_id),
                now=self._clock(),
                tenant_id=tenant_id,
                security=True,
                audience=None,
            )

        return tell
