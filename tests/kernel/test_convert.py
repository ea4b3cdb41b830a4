"""Rows become messages and messages become rows, through the real PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page
from sqlalchemy import MetaData, Table, bindparam, delete, insert, literal_column, select

from server.data.statements import Statement
from server.data.tables import uuid_column
from server.data.transactions import Database, Scope
from server.domains.sites.tables import pages
from server.kernel.ids import new_id
from server.kernel.resources.convert import ConversionPlan
from tests.clients import Tenant, new_tenant, problem, refused
from tests.contract.scratch import administrator
from tests.kernel.database import connections, scratch
from tests.kernel.messages import reference
from tests.stack import Stack

PLAN = ConversionPlan(Page, pages, computed=("path",))
STORED = [column.name for column in PLAN.columns if column.name != "version"]
INSERT = Statement(
    insert(pages)
    .values({name: bindparam(name, type_=pages.c[name].type) for name in STORED} | {"version": literal_column("7")})
    .returning(*PLAN.columns)
)
FORGET = Statement(delete(pages).where(pages.c.id == bindparam("forgotten", type_=pages.c.id.type)))

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
# PostgreSQL's numeric has no negative zero.
numbers = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
seconds = st.none() | st.tuples(st.integers(-62135596800, 253402300799), st.integers(0, 999_999))


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture(scope="module")
def database(stack: Stack) -> Iterator[Database]:
    with connections(administrator(stack), size=1) as pool:
        yield Database(pool)


def stored(database: Database, page: Page) -> Page:
    """A page as it comes back."""
    with database.write(Scope(tenant_id=page.tenant_id)) as transaction:
        found: Page = PLAN.message(transaction.run(INSERT, **PLAN.values(page)).raw(0))
        transaction.run(FORGET, forgotten=page.id)
    return found


def page_of(tenant: Tenant, **facts: Any) -> Page:
    page = Page(id=new_id(), tenant_id=tenant.id, status=Page.STATUS_DRAFT, **facts)
    page.create_time.GetCurrentTime()
    page.create_time.nanos = 0
    page.update_time.CopyFrom(page.create_time)
    return page


@settings(max_examples=60, deadline=None)
@given(title=words, free=st.none() | st.dictionaries(words, values, max_size=3), published=seconds)
def test_a_message_comes_back_as_it_was(
    database: Database, tenant: Tenant, title: str, free: dict[str, Any] | None, published: tuple[int, int] | None
) -> None:
    page = page_of(tenant, slug="round-trip", title=title)
    if free is not None:
        page.settings.CopyFrom(Struct())
        page.settings.update(free)
    if published is not None:
        page.publish_time.seconds, page.publish_time.nanos = published[0], published[1] * 1000
    found = stored(database, page)
    assert found.etag == f'W/"{page.id[-8:]}-7"'
    found.ClearField("etag")
    assert found == page


def test_unset_and_empty_differ(database: Database, tenant: Tenant) -> None:
    unset, empty = page_of(tenant, slug="unset"), page_of(tenant, slug="empty")
    empty.settings.CopyFrom(Struct())
    assert not stored(database, unset).HasField("settings")
    assert not stored(database, unset).HasField("publish_time")
    assert stored(database, empty).HasField("settings")


def test_nanoseconds_are_kept_to_the_microsecond(database: Database, tenant: Tenant) -> None:
    page = page_of(tenant, slug="nanos")
    page.publish_time.seconds, page.publish_time.nanos = 1_700_000_000, 123_456_000
    assert stored(database, page).publish_time.nanos == 123_456_000


@pytest.mark.parametrize("facts", [{}, {"owner_id": ""}, {"owner_id": new_id().upper(), "parent_id": new_id().upper()}])
def test_what_is_answered_for_ids_is_what_is_read_back(stack: Stack, facts: dict[str, str]) -> None:
    """An id that is unset, or empty where nothing refused it, is absent in both."""
    reference_class = reference()
    table = Table(
        "reference", MetaData(), *(uuid_column(name, nullable=True) for name in ("id", "owner_id", "parent_id"))
    )
    plan: ConversionPlan[Any] = ConversionPlan(reference_class, table)
    sent = reference_class(id=new_id(), **facts)
    create = "CREATE TABLE reference (id uuid, owner_id uuid, parent_id uuid)"
    with scratch(stack, create) as dsn, connections(dsn) as pool, Database(pool).write(Scope()) as transaction:
        parameters = {column.name: bindparam(column.name, type_=column.type) for column in table.c}
        transaction.queue(Statement(insert(table).values(parameters)), **plan.values(sent))
        (found,) = plan.messages(transaction.run(Statement(select(*plan.columns))))
    assert found == plan.as_stored(sent, {}, {}, 1)
    assert found.HasField("owner_id") is bool(facts.get("owner_id"))
    assert found.owner_id == facts.get("owner_id", "").lower()


def test_fields_without_a_column_are_left_out() -> None:
    assert "etag" not in PLAN.values(Page())
    assert {"slug", "title", "settings"} <= PLAN.values(Page()).keys()
    assert PLAN.values(Page())["settings"] is None


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")], ids=str)
def test_numbers_that_json_does_not_have_are_refused_as_the_caller_s_fault(tenant: Tenant, number: float) -> None:
    request = CreatePageRequest(tenant_id=tenant.id, page=Page(slug="infinite"))
    request.page.settings.update({"a": number})
    told = refused(lambda: tenant.stubs.pages.CreatePage(request))
    assert (told.reason, {*told.violations}, told.rules) == ("RULE_VIOLATED", {"page.settings"}, ("json.value",))


@pytest.mark.parametrize(
    "body", [{"slug": "nul", "title": "a\0b"}, {"slug": "nul", "settings": {"a": "b\0c"}}], ids=["text", "struct"]
)
def test_text_with_nul_is_refused_as_the_caller_s_fault(tenant: Tenant, body: dict[str, Any]) -> None:
    """PostgreSQL has no NUL in text; it must neither cut the text short nor call it our fault."""
    assert problem(tenant.rest.post(f"{tenant.path}/pages", body)).code == 3


def test_rows_of_another_program_are_read(stack: Stack, tenant: Tenant) -> None:
    """What SQL wrote, such as numbers in JSON that no double holds, is shown and breaks nothing."""
    with psycopg.connect(administrator(stack)) as connection:
        connection.execute(
            "INSERT INTO pages (tenant_id, id, slug, status, settings) VALUES (%s, %s, 'odd', 1, %s)",
            (tenant.id, new_id(), '{"n": 12345678901234567890, "x": null, "deep": [[[[]]]]}'),
        )
    page = tenant.rest.get(f"{tenant.path}/pages/slug/odd").json()
    assert page["settings"] == {"n": float(12345678901234567890), "x": None, "deep": [[[[]]]]}
