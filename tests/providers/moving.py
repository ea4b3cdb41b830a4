"""A domain that sends parcels by moves, on a migrated database of its own, without a process that others share."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import Page, PublishPageRequest
from psycopg.rows import dict_row
from sqlalchemy import bindparam, select

from server import access, modules
from server.adapters.providers import HttpProviders
from server.data import schema
from server.data.moves import moves
from server.data.statements import Statement
from server.data.transactions import Transaction
from server.kernel.call import Call, Principal
from server.kernel.chain import serialise
from server.kernel.clock import utc_now
from server.kernel.ids import new_id
from server.kernel.providers import Intent, Move, Provider, Settlement, State
from server.kernel.providers.carrying import Carrier
from server.kernel.steps.idempotency import Idempotency
from server.kernel.steps.transaction import InTransaction
from server.secrets import Secrets
from server.settings import Settings
from tests.contract.scratch import scratch_database, scratch_role
from tests.kernel.calls import POLICIES, Context, call
from tests.kernel.database import Database, connections
from tests.providers.courier import COURIER, CourierClient
from tests.stack import Stack

PUBLISH = POLICIES["/plinth.sites.v1.PageService/PublishPage"]
NAME = "parcels.send"
READ = Statement(select(moves.c.state, moves.c.result).where(moves.c.id == bindparam("id", type_=moves.c.id.type)))
LATER = (
    "UPDATE moves SET create_time = create_time - %(by)s, busy_time = busy_time - %(by)s,"
    " sent_time = sent_time - %(by)s WHERE tenant_id = %(tenant)s"
)


class Crash(BaseException):
    """The process dies here."""


class Silence:
    """Nobody is told of what was committed; what is invalidated is noted."""

    def __init__(self) -> None:
        self.slots: set[int] = set()

    def announce(self, *, has_jobs: bool) -> None:
        pass

    def changing(self, slots: set[int]) -> None:
        self.slots |= set(slots)

    def changed(self, slots: set[int]) -> None:
        pass


class Ground:
    """A migrated database, and the ways of both roles into it."""

    def __init__(self, administrator: str, runtime: Any, dispatch: Any) -> None:
        self.administrator = administrator
        self.runtime, self.dispatch = runtime, dispatch

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """What a statement finds or returns, whoever's it is."""
        with psycopg.connect(self.administrator, row_factory=dict_row) as connection:
            cursor = connection.execute(sql.encode(), values)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def ground(stack: Stack) -> Iterator[Ground]:
    """A database of one's own."""
    with scratch_database(stack) as administrator:
        schema.migrate(administrator)
        with scratch_role(administrator) as (runtime, way), scratch_role(administrator) as (dispatch, other):
            modules.grant(administrator, runtime=runtime, dispatch=dispatch)
            with connections(way) as first, connections(other) as second:
                yield Ground(administrator, first, second)


class World:
    """One tenant, its calls, and the worker that carries on with what they leave."""

    def __init__(self, ground: Ground, provider: Provider = COURIER, **changes: Any) -> None:
        """`changes` are of the move."""
        self.ground = ground
        self.silence = Silence()
        self.crash: Callable[[str], None] = lambda _: None
        """Called at every boundary of a step with its name; may raise Crash."""
        self.tenant_id = new_id()
        self.audience: str | None = None
        """The user whose parcels they are."""
        ground.rows(
            "INSERT INTO tenants (id, subdomain, name, status) VALUES (%s, %s, 'Acme', 1)",
            self.tenant_id,
            f"t-{self.tenant_id[-12:]}",
        )
        self.providers = HttpProviders(Settings())
        port = self.providers(provider)
        self.client = CourierClient(port)
        given: dict[str, Any] = {"look_up": self.client.find, **changes}
        self.move = Move(name=NAME, port=port, perform=self._perform, settle=self._settle, read=_read, **given)
        silence: Any = self.silence
        database = Database(ground.runtime)
        self.transaction = InTransaction(database, database, silence, silence, access.ACCESS_CHANGED)
        self.database = database
        self.carrier = self.carrying(self.move)
        self._idempotency = Idempotency(Secrets(b"o" * 32))
        self._handle = self.transaction.unary(PUBLISH, self._idempotency.unary(PUBLISH, self._start))

    def carrying(self, *moves: Move) -> Carrier:
        """A worker's part that carries on with these moves."""
        return Carrier(moves, self.database, Database(self.ground.dispatch), self.silence, utc_now)

    def close(self) -> None:
        self.providers.close()
        self.ground.rows("DELETE FROM tenants WHERE id = %s", self.tenant_id)

    # What callers do.

    def send(self, key: str, to: str = "somewhere") -> Page:
        """Call with an idempotency key. The answer."""
        one = call(PUBLISH, Context(idempotency_key=key))
        one.tenant_id = self.tenant_id
        # Who calls again is the same caller.
        one.principal = Principal(
            self.tenant_id, new_id(), self.tenant_id, ("owner",), is_platform=False, expires_at=2.0**40
        )
        answer = self._handle(one, PublishPageRequest(tenant_id=self.tenant_id, page_id=to))
        return Page.FromString(serialise(answer))

    def _start(self, one: Call, request: PublishPageRequest) -> Message:
        reference = new_id()
        self.move.begin(one, reference, {"to": request.page_id})
        self.crash("begun")
        return Page(id=reference, tenant_id=self.tenant_id, title=State.PENDING.name)

    # The steps of a move.

    def _perform(self, intent: Intent) -> Any:
        self.crash("committed")
        outcome = self.client.send(intent)
        self.crash("performed")
        return outcome

    def _settle(self, settlement: Settlement) -> Message:
        before = Page(id=settlement.intent.reference, tenant_id=self.tenant_id, title=State.PENDING.name)
        outcome = settlement.outcome
        # The move is written by then, in the same transaction.
        assert settlement.writes.run(READ, id=before.id).one()["state"] == outcome.state
        number = str(outcome.result.get("number", ""))
        after = Page(id=before.id, tenant_id=self.tenant_id, title=outcome.state.name, description=number)
        settlement.invalidate("parcels")
        settlement.tell(f"parcel.{outcome.state.name.lower()}", before, after, audience=self.audience)
        self.crash("settled")
        return after

    # What time and workers do.

    def later(self, seconds: float = 4000) -> None:
        """Let everything have happened so much earlier."""
        with psycopg.connect(self.ground.administrator) as connection:
            connection.execute(LATER, {"by": timedelta(seconds=seconds), "tenant": self.tenant_id})

    # What can be seen.

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The rows of the moves, oldest first."""
        return self.ground.rows("SELECT * FROM moves WHERE tenant_id = %s ORDER BY create_time", self.tenant_id)

    @property
    def states(self) -> list[State]:
        """Their states."""
        return [State(row["state"]) for row in self.kept]

    @property
    def told(self) -> list[str]:
        """The events of the tenant, without those of the RPC."""
        found = self.ground.rows(
            "SELECT type FROM events WHERE tenant_id = %s AND type LIKE 'parcel.%%' ORDER BY transaction_id, sequence",
            self.tenant_id,
        )
        return [row["type"].removeprefix("parcel.") for row in found]

    @property
    def audiences(self) -> set[str | None]:
        """The audiences of the events of parcels."""
        sql = "SELECT audience::text AS audience FROM events WHERE tenant_id = %s AND type LIKE 'parcel.%%'"
        return {row["audience"] for row in self.ground.rows(sql, self.tenant_id)}

    @property
    def audited(self) -> list[str]:
        """The actions of the tenant's audit entries, without that of the RPC."""
        found = self.ground.rows(
            "SELECT action FROM audit_entries WHERE tenant_id = %s AND action LIKE 'parcel.%%'"
            " ORDER BY transaction_id, sequence",
            self.tenant_id,
        )
        return [row["action"].removeprefix("parcel.") for row in found]

    @property
    def jobs(self) -> list[Mapping[str, Any]]:
        """The jobs of the tenant."""
        return [
            row["args"]
            for row in self.ground.rows(
                "SELECT args FROM procrastinate_jobs WHERE args->>'tenant_id' = %s AND scheduled_at > now()",
                self.tenant_id,
            )
        ]


def _read(transaction: Transaction, intent: Intent) -> Message:
    row = transaction.run(READ, id=intent.reference).one()
    number = str((row["result"] or {}).get("number", ""))
    return Page(id=intent.reference, tenant_id=intent.tenant_id, title=State(row["state"]).name, description=number)


__all__ = ["NAME", "PUBLISH", "Crash", "Ground", "World", "ground"]
