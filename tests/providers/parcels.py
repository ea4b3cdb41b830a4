"""A domain that the product does not have: parcels, which a courier sends. Its processes die where a test says.

tests/composing.py has the plinth command with this domain among the others.
"""

import os
import signal
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from plinth.policy.v1 import policy_pb2
from sqlalchemy import Column, MetaData, SmallInteger, Table, Text, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import Transaction
from server.extensions import POLICY
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.module import Background, Module, Platform, Serve, WorkerPlatform
from server.kernel.providers import Intent, Move, Outcome, ProviderPort, Settlement, State
from server.kernel.resources import Service
from tests import composing
from tests.providers.courier import COURIER, CourierClient

PACKAGE = "plinth.parcels.v1"
METHOD = f"/{PACKAGE}.ParcelService/SendParcel"
CRASHES = "PARCELS_CRASHES"
Field = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    """The contract: `SendParcel(to)` answers a Parcel."""
    file = descriptor_pb2.FileDescriptorProto(name="plinth/parcels/v1/parcel.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend(("google/api/annotations.proto", "plinth/policy/v1/policy.proto"))
    for message, names in {"Parcel": ("id", "to", "state", "number"), "SendParcelRequest": ("tenant_id", "to")}.items():
        added = file.message_type.add(name=message)
        for number, name in enumerate(names, start=1):
            added.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
    method = file.service.add(name="ParcelService").method.add(
        name="SendParcel", input_type=f".{PACKAGE}.SendParcelRequest", output_type=f".{PACKAGE}.Parcel"
    )
    http = method.options.Extensions[annotations_pb2.http]
    http.post, http.body = "/api/v1/tenants/{tenant_id}/parcels:send", "*"
    policy: Any = method.options.Extensions[POLICY]
    policy.permission, policy.emits = "parcels.parcels.send", "parcel.started"
    policy.providers.append(COURIER.name)
    policy.pool = policy_pb2.POOL_SLOW
    policy.timeout.FromSeconds(20)
    return file


_pool: Any = descriptor_pool.Default()
_pool.AddSerializedFile(_file().SerializeToString())
Parcel: Any = GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.Parcel"))
SendParcelRequest: Any = GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.SendParcelRequest"))

# The product has no such table, so a test makes it (TABLE).
parcels = Table(
    "parcels",
    MetaData(),
    Column("tenant_id", UUID(as_uuid=False)),
    Column("id", UUID(as_uuid=False)),
    Column("to", Text),
    Column("state", SmallInteger),
    Column("number", Text),
)
TABLE = (
    'CREATE TABLE parcels (tenant_id uuid, id uuid PRIMARY KEY, "to" text, state smallint, number text)',
    "ALTER TABLE parcels ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE parcels FORCE ROW LEVEL SECURITY",
    "CREATE POLICY parcels_wall ON parcels USING (tenant_id = current_setting('plinth.tenant_id', true)::uuid)",
    "GRANT SELECT, INSERT, UPDATE ON parcels TO plinth_runtime",
)
_id = bindparam("id", type_=UUID(as_uuid=False))
_state, _number = bindparam("state", type_=SmallInteger()), bindparam("number", type_=Text())
START = Statement(
    insert(parcels).values(
        tenant_id=bindparam("tenant_id", type_=UUID(as_uuid=False)),
        id=_id,
        to=bindparam("to", type_=Text()),
        state=_state,
        number=_number,
    )
)
FINISH = Statement(
    update(parcels)
    .where(parcels.c.id == bindparam("parcel", type_=UUID(as_uuid=False)))
    .values(state=_state, number=_number)
    .returning(parcels.c.id)
)
READ = Statement(select(parcels.c.id, parcels.c.to, parcels.c.state, parcels.c.number).where(parcels.c.id == _id))


class Mortal:
    """The moves of one role. Its process dies at a boundary for which there is a file, once."""

    def __init__(self, port: ProviderPort, role: str) -> None:
        self._role = role
        self._client = CourierClient(port)
        self.move = Move(
            name="parcels.send",
            port=port,
            perform=self._perform,
            settle=self._settle,
            read=_read,
            look_up=self._look_up,
        )

    def crash(self, boundary: str) -> None:
        """Die, if a test wants it."""
        try:
            (Path(os.environ[CRASHES]) / f"{self._role}-{boundary}").unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def _perform(self, intent: Intent) -> Outcome:
        self.crash("committed")
        outcome = self._client.send(intent)
        self.crash("performed")
        return outcome

    def _look_up(self, intent: Intent) -> Outcome | None:
        self.crash("looking")
        found = self._client.find(intent)
        self.crash("looked")
        return found

    def _settle(self, settlement: Settlement) -> Message:
        intent, outcome = settlement.intent, settlement.outcome
        number = str(outcome.result.get("number", ""))
        settlement.writes.run(FINISH, parcel=intent.reference, state=int(outcome.state), number=number)
        parcel = _read(settlement.writes, intent)
        settlement.tell(f"parcel.{outcome.state.name.lower()}", None, parcel, audience=None)
        self.crash("settled")
        return parcel


class ParcelService(Service):
    """Sends parcels."""

    descriptor = _pool.FindServiceByName(f"{PACKAGE}.ParcelService")

    def __init__(self, mortal: Mortal) -> None:
        super().__init__()
        self._mortal = mortal

    def send_parcel(self, call: Call, request: Any) -> Message:
        """Send one. The parcel is PENDING until the courier has answered."""
        parcel_id = new_id()
        self._mortal.move.begin(call, parcel_id, {"to": request.to})
        state = int(State.PENDING)
        call.writes.queue(START, tenant_id=call.tenant_id, id=parcel_id, to=request.to, state=state, number="")
        self._mortal.crash("begun")
        parcel: Message = Parcel(id=parcel_id, to=request.to, state=State.PENDING.name)
        return parcel


def _read(transaction: Transaction, intent: Intent) -> Message:
    row = transaction.run(READ, id=intent.reference).one()
    parcel: Message = Parcel(id=row["id"], to=row["to"], state=State(row["state"]).name, number=row["number"])
    return parcel


def _serve(platform: Platform) -> ParcelService:
    return ParcelService(Mortal(platform.providers(COURIER), "api"))


def _background(platform: WorkerPlatform) -> Background:
    return Background(moves=(Mortal(platform.providers(COURIER), "worker").move,))


MODULE = Module("parcels", services=(Serve(ParcelService, _serve),), background=_background)


def compose() -> None:
    """Name this domain among those of the product, before anything asks for them."""
    composing.add(MODULE)
