"""Rows of which every user has one: defaults until the first change, and one row however many first changes come."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api import field_behavior_pb2, resource_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import Column, ForeignKeyConstraint, Integer, MetaData, Table, Text, text

from server.data.tables import resource_columns, uuid_column
from server.data.transactions import Database
from server.domains.tenancy.tables import memberships
from server.kernel.call import Access, Call, Principal
from server.kernel.problems import Denied, EtagMismatch, NotFound, Reason
from server.kernel.resources.convert import PlanFault
from server.kernel.resources.resource import Hooks, Parent, Resource
from server.kernel.resources.rows import etag_in
from server.kernel.resources.service import Service
from server.kernel.resources.singletons import OnePerParentRows, OnePerTenantRows, OnePerUserRows
from tests.clients import Tenant, database, new_member, new_tenant, rows
from tests.kernel.calls import CREATE, Context
from tests.kernel.database import connections
from tests.stack import PATIENCE, Stack

Field = descriptor_pb2.FieldDescriptorProto
SEEN_BY = "tests.habits.manage"
AT_ONCE = 6
# In a schema of its own, which no sweep looks at.
TABLE = """
CREATE SCHEMA IF NOT EXISTS singletons;
GRANT USAGE ON SCHEMA singletons TO plinth_runtime;
CREATE TABLE IF NOT EXISTS singletons.habits (
    tenant_id uuid, id uuid, user_id uuid NOT NULL, theme text NOT NULL, steps int NOT NULL,
    version bigint NOT NULL, create_time timestamptz NOT NULL, update_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES public.memberships (tenant_id, user_id) ON DELETE CASCADE);
ALTER TABLE singletons.habits ENABLE ROW LEVEL SECURITY;
ALTER TABLE singletons.habits FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS habits_wall ON singletons.habits;
CREATE POLICY habits_wall ON singletons.habits USING (tenant_id = current_setting('plinth.tenant_id', true)::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON singletons.habits TO plinth_runtime;
"""


def _message(name: str, *, required: bool = False) -> Any:
    """A message `Habits` in a file of its own."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=f"plinth.{name}.v1", syntax="proto3")
    file.dependency.extend(("google/api/field_behavior.proto", "google/api/resource.proto"))
    message = file.message_type.add(name="Habits")
    option: Any = message.options.Extensions[resource_pb2.resource]
    option.type, option.singular, option.plural = "plinth.dev/Habits", "habits", "habits"
    for number, (field, kind) in enumerate({"id": 9, "user_id": 9, "etag": 9, "theme": 9, "steps": 5}.items(), start=1):
        added = message.field.add(name=field, number=number, label=Field.LABEL_OPTIONAL, type=kind)
        if field in ("id", "user_id"):
            added.options.Extensions[field_behavior_pb2.field_behavior].append(field_behavior_pb2.OUTPUT_ONLY)
        elif required and field == "theme":
            added.options.Extensions[field_behavior_pb2.field_behavior].append(field_behavior_pb2.REQUIRED)
    request = file.message_type.add(name="GetHabitsRequest")
    request.field.add(name="user_id", number=1, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
    pool: Any = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(file.name)


FILE = _message("habits")
Habits: Any = GetMessageClass(FILE.message_types_by_name["Habits"])
Request: Any = GetMessageClass(FILE.message_types_by_name["GetHabitsRequest"])
TABLE_OF_HABITS = Table(
    "habits",
    MetaData(),
    *(uuid_column("tenant_id"), uuid_column("id"), uuid_column("user_id")),
    *(Column("theme", Text, nullable=False), Column("steps", Integer, nullable=False)),
    *resource_columns(soft_delete=False),
    ForeignKeyConstraint(["tenant_id", "user_id"], [memberships.c.tenant_id, memberships.c.user_id]),
    schema="singletons",
)
RESOURCE: Resource[Any] = Resource(Habits, TABLE_OF_HABITS, singleton=True, owner="user_id", seen_by=SEEN_BY)


class WithTheme(Hooks[Any]):
    """Habits are light unless somebody chose."""

    def prepare(self, call: Call, resource: Any, before: Any) -> None:
        del call, before
        resource.theme = resource.theme or "light"


class Meeting(WithTheme):
    """All first changes find that there is no row yet, and only then go on."""

    def __init__(self, count: int) -> None:
        self._all = threading.Barrier(count)

    def prepare(self, call: Call, resource: Any, before: Any) -> None:
        super().prepare(call, resource, before)
        if before is None:
            self._all.wait(PATIENCE)


HABITS = OnePerUserRows(WithTheme(), RESOURCE)


@pytest.fixture(scope="module")
def stored(stack: Stack) -> Iterator[Database]:
    with database(stack) as connection:
        connection.execute(TABLE.encode())
    with connections(stack.settings.runtime_dsn, size=8) as pool:
        yield Database(pool)


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def call_of(tenant: Tenant, user_id: str, *permissions: str, api_key_id: str = "") -> Call:
    call = Call(CREATE, Context())
    call.tenant_id = tenant.id
    call.principal = Principal(user_id, "", tenant.id, (), is_platform=False, expires_at=9e9, api_key_id=api_key_id)
    call.access = Access(tenant.id, frozenset(permissions), (), None)
    return call


def get(stored: Database, call: Call, user_id: str = "") -> Any:
    with stored.write(call.scope) as call.transaction:
        return HABITS.get(call, request=Request(user_id=user_id))


def change(
    stored: Database, call: Call, *, user_id: str = "", etag: str = "", habits: Any = HABITS, **fields: Any
) -> Any:
    """One update, in a transaction of its own."""
    with stored.write(call.scope) as call.transaction:
        before = habits.lock(call, etag=etag, request=Request(user_id=user_id))
        message = habits.copy_of(before)
        for name, value in fields.items():
            setattr(message, name, before.steps + 1 if name == "steps" else value)
        return habits.update(call, message, before)


def test_what_nobody_has_changed_reads_as_its_defaults(stack: Stack, stored: Database, tenant: Tenant) -> None:
    owner = tenant.owner.id
    found = get(stored, call_of(tenant, owner))
    assert (found.id, found.user_id, found.theme, found.steps) == (owner, owner, "light", 0)
    assert rows(stack, "SELECT id FROM singletons.habits WHERE tenant_id = %s", tenant.id) == []
    changed = change(stored, call_of(tenant, owner), etag=etag_in(found), theme="dark")
    assert (changed.theme, changed.id) == ("dark", owner)
    assert get(stored, call_of(tenant, owner)) == changed
    with pytest.raises(EtagMismatch):
        change(stored, call_of(tenant, owner), etag=etag_in(found), theme="dim")


def test_of_first_changes_at_once_none_is_lost(stored: Database, tenant: Tenant) -> None:
    owner, habits = tenant.owner.id, OnePerUserRows(Meeting(AT_ONCE), RESOURCE)

    def first_change(_: int) -> Any:
        return change(stored, call_of(tenant, owner), habits=habits, steps=1)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        done = list(threads.map(first_change, range(AT_ONCE)))
    assert sorted(each.steps for each in done) == list(range(1, AT_ONCE + 1))
    assert get(stored, call_of(tenant, owner)).steps == AT_ONCE


def test_each_user_has_their_own(stored: Database, tenant: Tenant) -> None:
    owner, member = tenant.owner.id, new_member(tenant, "member")[0].id
    change(stored, call_of(tenant, owner), theme="dark")
    assert get(stored, call_of(tenant, member)).theme == "light"
    with pytest.raises(NotFound):
        get(stored, call_of(tenant, member), owner)
    with pytest.raises(NotFound):
        change(stored, call_of(tenant, member), user_id=owner, theme="dim")
    manager = call_of(tenant, member, SEEN_BY)
    assert get(stored, manager, owner).theme == "dark"
    assert change(stored, call_of(tenant, member, SEEN_BY), user_id=owner, theme="dim").user_id == owner
    assert get(stored, call_of(tenant, member, SEEN_BY)).user_id == member
    changing = call_of(tenant, member, SEEN_BY)
    change(stored, changing, user_id=owner, theme="dark")
    assert changing.audience == owner


def test_a_user_of_another_tenant_has_none(stored: Database, tenant: Tenant, stack: Stack) -> None:
    stranger = new_tenant(stack).owner.id
    with pytest.raises(NotFound):
        change(stored, call_of(tenant, tenant.owner.id, SEEN_BY), user_id=stranger, theme="dark")
    with pytest.raises(NotFound):
        get(stored, call_of(tenant, tenant.owner.id, SEEN_BY), stranger)


def test_an_api_key_has_none(stored: Database, tenant: Tenant) -> None:
    key = call_of(tenant, "", api_key_id=tenant.owner.id)
    with pytest.raises(Denied) as refused:
        get(stored, key)
    assert refused.value.reason is Reason.REASON_USER_REQUIRED


def test_what_is_deleted_has_its_defaults_again(stored: Database, tenant: Tenant) -> None:
    call = call_of(tenant, tenant.owner.id)
    change(stored, call, theme="dark")
    with stored.write(call.scope) as call.transaction:
        HABITS.delete(call, HABITS.lock(call, request=Request()))
    assert get(stored, call_of(tenant, tenant.owner.id)).theme == "light"


def test_it_goes_with_the_membership_where_the_table_says_so(stack: Stack, stored: Database, tenant: Tenant) -> None:
    member = new_member(tenant, "member")[0].id
    for user_id in (member, tenant.owner.id):
        change(stored, call_of(tenant, user_id), theme="dark")
    with database(stack) as connection:
        connection.execute("DELETE FROM memberships WHERE user_id = %s", (member,))
    left = rows(stack, "SELECT id::text FROM singletons.habits WHERE tenant_id = %s", tenant.id)
    assert [row["id"] for row in left] == [tenant.owner.id]


def test_declarations_that_do_not_fit_keep_the_server_from_starting() -> None:
    needy = GetMessageClass(_message("needy", required=True).message_types_by_name["Habits"])
    lasting = Table(
        "lasting",
        MetaData(),
        *(uuid_column("tenant_id"), uuid_column("id"), uuid_column("user_id")),
        *(Column("theme", Text), Column("steps", Integer, server_default=text("0"))),
        *resource_columns(soft_delete=True),
    )
    above = Parent("theme", RESOURCE)
    resource: Resource[Any] = Resource(
        needy, lasting, singleton=True, owner="user_id", seen_by=SEEN_BY, most=3, parent=above
    )
    with pytest.raises(PlanFault) as refused:
        OnePerUserRows(Hooks(), resource)
    for fault in (
        *("it cannot be REQUIRED", "drop the column `delete_time`", "drop `order`, `most` and `number`"),
        "drop `parent` or `owner`",
    ):
        assert fault in str(refused.value)


def test_one_per_parent_has_a_parent() -> None:
    with pytest.raises(TypeError, match="has no parent"):
        OnePerParentRows(Hooks(), Resource(Habits, TABLE_OF_HABITS, singleton=True))


def test_one_of_a_tenant_says_of_which() -> None:
    silent = Table(
        "silent",
        MetaData(),
        *(uuid_column("tenant_id"), uuid_column("id"), uuid_column("user_id")),
        *(Column("theme", Text), Column("steps", Integer, server_default=text("0"))),
        *resource_columns(soft_delete=False),
    )
    with pytest.raises(PlanFault, match="does not say of which: add the field `tenant_id`"):
        OnePerTenantRows(Hooks(), Resource(Habits, silent, singleton=True))


def test_services_take_them_by_declaration() -> None:
    class HabitService(Service[Any]):
        resource = RESOURCE

    assert type(HabitService().rows) is OnePerUserRows
