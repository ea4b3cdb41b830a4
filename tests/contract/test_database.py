"""The schema: every tenant table is walled and can be sharded, and the database is what the tables describe."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from google.api import field_behavior_pb2
from psycopg import sql
from sqlalchemy import Column, ForeignKeyConstraint, Index, MetaData, PrimaryKeyConstraint, Table, Text

from server import app, modules
from server.data import schema
from server.data.canary import secret_canaries
from server.data.cursors import event_cursors
from server.data.epochs import log_epochs
from server.data.events import NO_TENANT
from server.data.search import SEARCHED
from server.data.tables import ROW_SECURITY, metadata, uuid_column
from server.kernel.messages.fields import descriptor_of
from server.kernel.policy import Kind
from server.kernel.queries.filter_sql import is_money
from server.kernel.resources.resource import Parent, Resource
from server.run import new_migration
from server.run.new_migration import lacking
from tests.clients import Tenant, database
from tests.contract import wall
from tests.contract.scratch import administrator, run, scratch_database, scratch_role
from tests.stack import PATIENCE, Stack

# Unique across tenants on purpose, each with the reason.
UNIQUE_EVERYWHERE = {
    "domains_hostname_key": "a host name leads to one tenant",
    "api_keys_prefix_key": "a key is looked up before its tenant is known; 48 random bits tell nothing of others",
    "invitations_token_hash_key": "a token is looked up before its tenant is known; hashes of 256 random bits",
    "email_messages_token_key": "who unsubscribes names a message alone; 128 random bits tell nothing of others",
    "custom_domains_verified_key": "a host name leads to one tenant, the one who has proven it",
    "inbound_routes_route_hash_key": "a provider's address leads to one tenant; hashes of tokens and outside ids",
    "api_keys_previous_prefix_key": "the same for a secret that was replaced",
}
# Tables of tenants whose key begins with something else, each with the reason.
KEYED_OTHERWISE = {"email_messages": "mail about accounts is in the same queue, and belongs to no tenant"}
PAGES, SECTIONS = "plinth.sites.v1.PageService", "plinth.sites.v1.SectionService"
# Tables that have no wall, each with the reason.
SHARED = {"plans", "page_templates"}
UNWALLED = {
    "users": "people, who may belong to many tenants",
    "sessions": "they are of users; looked up by a signed id",
    "sign_in_networks": "they are of users; looked up before it is known whether somebody is one",
    "authenticators": "they are of users; looked up by who signs in",
    "recovery_codes": "they are of users; looked up by who signs in",
    "passkeys": "they are of users; looked up by the id of the passkey, before it is known whose it is",
    "federated_identities": "they are of users; looked up by who comes from a provider, before it is known whose it is",
    "used_challenges": "random, and of nobody",
    "account_letters": "they are of users; looked up by the hash of a token",
    "ip_blocks": "they hold for the whole deployment",
    event_cursors.name: "how far background readers have come",
    log_epochs.name: "which clusters the database has been in",
    secret_canaries.name: "which secret the database was filled under",
    "used_tickets": "random ids of tickets, looked up before the caller is known",
    "plans": "of the platform, to be chosen by every tenant",
    "page_templates": "of the platform, to be used by every tenant",
    "idempotency_records": "found by a keyed hash of tenant, caller and method, and sealed",
}


# What the tables describe --------------------------------------------------------------------------------------------


def tenant_table_faults(tables: Iterable[Table], allowed: Mapping[str, str]) -> Iterator[str]:
    """Tenant tables that could not be sharded by tenant, or have no wall."""
    for table in tables:
        if "tenant_id" not in table.c:
            continue
        if ROW_SECURITY not in table.info:
            yield f"{table.name} has no row-level security"
        if next(iter(table.primary_key.columns)).name != "tenant_id" and table.name not in KEYED_OTHERWISE:
            yield f"tenant_id does not lead the primary key of {table.name}"
        for index in table.indexes:
            leads = next(getattr(part, "name", "") for part in index.expressions) == "tenant_id"
            if index.unique and not leads and index.name not in allowed:
                yield f"tenant_id does not lead the unique index {index.name}"
        for key in table.foreign_key_constraints:
            # A table that is the same for every tenant is on every shard.
            if key.column_keys[0] != "tenant_id" and key.referred_table.name not in SHARED:
                yield f"tenant_id does not lead the foreign key {key.name} of {table.name}"


def unindexed_foreign_keys(tables: Iterable[Table]) -> Iterator[str]:
    """A foreign key without an index makes every delete of its target read the whole table."""
    for table in tables:
        leading = [[column.name for column in table.primary_key.columns]]
        leading += [[getattr(part, "name", "") for part in index.expressions] for index in table.indexes]
        for key in table.foreign_key_constraints:
            if not any(names[: len(key.column_keys)] == list(key.column_keys) for names in leading):
                yield f"the foreign key {key.name} of {table.name} has no index"


def unindexed_orders(resources: Mapping[str, Resource]) -> Iterator[str]:
    """Fields that lists are sorted by lead an index, after what a list is narrowed by. `resources` are by service."""
    for service, resource in resources.items():
        leading = [[getattr(part, "name", "") for part in index.expressions] for index in resource.table.indexes]
        for field in resource.sortable:
            columns = columns_of(resource, field)
            for before in narrowings(service, resource):
                wanted = [*before, *columns]
                if not any(names[: len(wanted)] == wanted for names in leading):
                    of = f" of one {before[-1]}" if before[1:] else ""
                    yield f"{resource.table.name}{of} cannot be sorted by {field} without reading all of it"
            if any(resource.table.c[column].nullable for column in columns):
                yield f"{resource.table.name}.{field} is sorted by, but may be null"


def columns_of(resource: Resource, field: str) -> list[str]:
    """The columns that a list is sorted by: an amount by its currency first."""
    fields = descriptor_of(resource.message).fields_by_name
    return [f"{field}_currency", f"{field}_minor"] if is_money(fields[field]) else [field]


def narrowings(service: str, resource: Resource) -> Iterator[list[str]]:
    """The columns by which a list is narrowed: that of the tenant, of a parent that each list names, of an owner."""
    tenant = ["tenant_id"] if "tenant_id" in resource.table.c else []
    if resource.parent is not None and resource.parent.field in named_by_list(service):
        yield [*tenant, resource.parent.field]
        return
    yield tenant
    # Of what is shown to everyone, a list of one owner is a filter.
    if resource.owner and resource.shown is None:
        yield [*tenant, resource.owner]


def named_by_list(service: str) -> set[str]:
    """The fields that a request for the list of a service has to set."""
    lists = [method for path, method in app.policies().items() if path.startswith(f"/{service}/")]
    fields = [field for method in lists if method.kind is Kind.LIST for field in method.descriptor.input_type.fields]
    return {field.name for field in fields if wall.behaves(field, field_behavior_pb2.REQUIRED)}


RESOURCES = {service.descriptor.full_name: service.resource for service in app.SERVICES if service.resource is not None}


def test_every_tenant_table_is_walled_and_led_by_its_tenant() -> None:
    assert list(tenant_table_faults(metadata.sorted_tables, UNIQUE_EVERYWHERE)) == []
    assert sum("tenant_id" in table.c for table in metadata.sorted_tables) >= 4


def test_every_other_table_has_a_wall_or_a_reason() -> None:
    assert {table.name for table in metadata.sorted_tables if ROW_SECURITY not in table.info} == UNWALLED.keys()


def test_every_foreign_key_and_every_order_has_an_index() -> None:
    assert list(unindexed_foreign_keys(metadata.sorted_tables)) == []
    assert list(unindexed_orders(RESOURCES)) == []


def test_exceptions_are_of_indexes_that_are_there() -> None:
    names = {index.name for table in metadata.sorted_tables for index in table.indexes}
    assert names >= UNIQUE_EVERYWHERE.keys()


def test_planted_tables_are_found() -> None:
    planted = MetaData()
    Table("tenants", planted, uuid_column("id", primary_key=True))
    bad = Table(
        "notes",
        planted,
        uuid_column("id"),
        uuid_column("tenant_id"),
        Column("slug", Text, nullable=True),
        PrimaryKeyConstraint("id", "tenant_id"),
        ForeignKeyConstraint(["id"], ["tenants.id"], name="notes_fkey"),
        ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="notes_tenant_fkey"),
    )
    Index("notes_slug_key", bad.c.slug, unique=True)
    assert list(tenant_table_faults([bad], UNIQUE_EVERYWHERE)) == [
        "notes has no row-level security",
        "tenant_id does not lead the primary key of notes",
        "tenant_id does not lead the unique index notes_slug_key",
        "tenant_id does not lead the foreign key notes_fkey of notes",
    ]
    assert list(unindexed_foreign_keys([bad])) == ["the foreign key notes_tenant_fkey of notes has no index"]
    parent = Parent("notebook_id", RESOURCES[PAGES])
    pages = RESOURCES[PAGES].message
    found = [
        *unindexed_orders({SECTIONS: Resource(pages, bad, sortable=("slug",), parent=replace(parent, field="page_id"))})
    ]
    assert found == [
        "notes of one page_id cannot be sorted by slug without reading all of it",
        "notes.slug is sorted by, but may be null",
    ]
    resource = Resource(pages, bad, sortable=("slug",), owner="user_id", parent=parent)
    assert list(unindexed_orders({SECTIONS: resource})) == [
        "notes cannot be sorted by slug without reading all of it",
        "notes of one user_id cannot be sorted by slug without reading all of it",
        "notes.slug is sorted by, but may be null",
    ]


# What the database has -----------------------------------------------------------------------------------------------


def drift(dsn: str, described: MetaData) -> list[Any]:
    """What a migration would have to change to make the database what the tables describe."""
    found: list[Any] = lacking(dsn, described).as_diffs()
    # Changes of one column come as a list.
    return [part for change in found for part in (change if isinstance(change, list) else [change])]


@pytest.fixture(scope="module")
def migrated(stack: Stack) -> Iterator[str]:
    """A database of our own that four processes migrate at once; they all have to succeed."""
    with scratch_database(stack) as dsn:
        code = "import sys; from server.data import schema; schema.migrate(sys.argv[1])"
        racing = [
            subprocess.Popen([sys.executable, "-c", code, dsn], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(4)
        ]
        try:
            outputs = [process.communicate(timeout=2 * PATIENCE)[0] for process in racing]
        finally:
            for process in racing:
                process.kill()
                process.communicate()
        assert [process.returncode for process in racing] == [0] * 4, outputs
        yield dsn


def test_migrations_from_four_processes_at_once_apply_once(migrated: str) -> None:
    with psycopg.connect(migrated) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    assert drift(migrated, metadata) == []


def test_text_from_before_is_composed(stack: Stack) -> None:
    composed, decomposed, tenant = (
        "Caf\u00e9 \u1e69",
        "Cafe\u0301 s\u0307\u0323",
        "01890000-0000-7000-8000-000000000000",
    )
    with scratch_database(stack) as dsn:
        schema.upgrade(dsn, "0006")
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "INSERT INTO tenants (id, subdomain, name, status) VALUES (%s, 'acme', %s, 1)", (tenant, decomposed)
            )
            for title in (composed, decomposed, "plain"):
                connection.execute(
                    "INSERT INTO pages (tenant_id, id, slug, title, status) VALUES (%s, gen_random_uuid(), %s, %s, 1)",
                    (tenant, f"slug-{len(title)}", title),
                )
        schema.migrate(dsn)
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT name FROM tenants").fetchall() == [(composed,)]
            titles = connection.execute("SELECT title, count(*) FROM pages GROUP BY title ORDER BY title").fetchall()
            assert titles == [(composed, 2), ("plain", 1)]
            forced = "SELECT count(*) FROM pg_class WHERE relname = ANY(%s) AND relforcerowsecurity"
            assert connection.execute(forced, (["api_keys", "pages", "tenants"],)).fetchone() == (3,)


def test_keys_from_before_go_back_to_the_users_who_made_them(stack: Stack) -> None:
    tenant, user = "01890000-0000-7000-8000-000000000000", "01890000-0000-7000-8000-000000000001"
    with scratch_database(stack) as dsn:
        schema.upgrade(dsn, "0011")
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "INSERT INTO tenants (id, subdomain, name, status) VALUES (%s, 'acme', 'Acme', 1)", (tenant,)
            )
            for maker in (user, ""):
                connection.execute(
                    "INSERT INTO api_keys (tenant_id, id, name, environment, permissions, prefix, secret_hash,"
                    " create_user_id) VALUES (%s, gen_random_uuid(), 'n', 1, '{}', %s, '', %s)",
                    (tenant, f"sn_live_{maker}", maker),
                )
        schema.migrate(dsn)
        with psycopg.connect(dsn) as connection:
            found = connection.execute("SELECT create_user_id, origin_user_id FROM api_keys ORDER BY 1").fetchall()
            assert found == [("", ""), (user, user)]
            forced = "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'api_keys'"
            assert connection.execute(forced).fetchone() == (True,)


def test_the_stack_s_database_is_what_the_tables_describe(stack: Stack) -> None:
    assert drift(administrator(stack), metadata) == []


def test_drift_is_found(migrated: str) -> None:
    described = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(described)
    described.tables["pages"].append_column(Column("subtitle", Text))
    changed = described.tables["pages"].c.title
    changed.nullable = True
    assert {change[0] for change in drift(migrated, described)} == {"add_column", "modify_nullable"}


def test_walls_are_those_that_the_tables_describe(migrated: str) -> None:
    """PostgreSQL writes an expression in its own way, so the described one is given to it as well."""
    walled = [table for table in metadata.sorted_tables if ROW_SECURITY in table.info]
    assert walled
    with psycopg.connect(migrated) as connection:
        for table in walled:
            sql_text = f"CREATE POLICY described ON {table.name} USING ({table.info[ROW_SECURITY]})"
            connection.execute(sql_text.encode())
            rows = connection.execute(
                """SELECT polname, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), polcmd
                     FROM pg_policy WHERE polrelid = %s::regclass ORDER BY polname = 'described'""",
                (table.name,),
            ).fetchall()
            assert [row[0] for row in rows] == [f"{table.name}_wall", "described"]
            wall, described = rows
            assert wall[1] == wall[2] == described[1]
            assert wall[3] == described[3]
        connection.rollback()


def test_every_searched_table_deletes_its_words(migrated: str) -> None:
    followed = {
        f"{table.name}_delete": table.info[SEARCHED] for table in metadata.sorted_tables if SEARCHED in table.info
    }
    with psycopg.connect(migrated) as connection:
        found = connection.execute(
            "SELECT tgname, tgrelid::regclass::text FROM pg_trigger"
            " WHERE tgfoid = 'plinth_delete_words'::regproc AND NOT tgisinternal"
        )
        assert dict(found.fetchall()) == followed


def test_the_stack_s_tenant_tables_are_walled_and_forced(stack: Stack) -> None:
    query = """
        SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, count(p.polname)
          FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
          LEFT JOIN pg_policy p ON p.polrelid = c.oid
         WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace GROUP BY 1, 2"""
    with psycopg.connect(administrator(stack)) as connection:
        rows = connection.execute(query).fetchall()
    described = {table.name for table in metadata.sorted_tables if "tenant_id" in table.c}
    states = {name: (forced, policies) for name, forced, policies in rows}
    # A month of what is partitioned has no policy of its own, and thus shows no row.
    months = {name for name in states if new_migration.FOREIGN.fullmatch(name)}
    assert states.keys() - months == described
    assert all(forced and bool(policies) is (name not in months) for name, (forced, policies) in states.items())


# Who may not serve ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runtime(migrated: str) -> Iterator[tuple[str, str]]:
    """A runtime role as `plinth migrate` makes it: its name and its way in."""
    with scratch_role(migrated) as (name, dsn), scratch_role(migrated) as (dispatch, _):
        modules.grant(migrated, runtime=name, dispatch=dispatch)
        yield name, dsn


def test_granting_again_changes_no_policy(migrated: str) -> None:
    """Changing one locks its table against everybody, which each deployment would do anew."""
    known = "SELECT oid, polname FROM pg_policy WHERE polname LIKE '%%_dispatch' ORDER BY oid"
    with scratch_role(migrated) as (name, _), scratch_role(migrated) as (dispatch, _):
        found = []
        for _ in range(2):
            modules.grant(migrated, runtime=name, dispatch=dispatch)
            with psycopg.connect(migrated) as connection:
                found.append(connection.execute(known, ()).fetchall())
    assert len(found[0]) > 5
    assert found[0] == found[1]


def test_a_plain_runtime_role_is_accepted(runtime: tuple[str, str]) -> None:
    schema.check_walls(runtime[1], metadata)


def test_a_superuser_is_refused(migrated: str) -> None:
    with pytest.raises(schema.UnsafeDatabase, match="a superuser"):
        schema.check_walls(migrated, metadata)


def test_a_role_that_bypasses_walls_is_refused(migrated: str) -> None:
    with scratch_role(migrated, "BYPASSRLS") as (_, dsn), pytest.raises(schema.UnsafeDatabase, match="BYPASSRLS"):
        schema.check_walls(dsn, metadata)


def test_a_role_that_owns_a_table_is_refused(migrated: str) -> None:
    with scratch_role(migrated) as (name, dsn):
        run(migrated, "CREATE TABLE owned (id int)")
        run(migrated, "ALTER TABLE owned OWNER TO {}", name)
        with pytest.raises(schema.UnsafeDatabase, match="owns 1 table"):
            schema.check_walls(dsn, metadata)


@pytest.mark.parametrize("options", ["INHERIT", "NOINHERIT"])
def test_a_role_that_can_become_the_owner_is_refused(migrated: str, options: str) -> None:
    """With NOINHERIT it takes a SET ROLE, which is no hindrance."""
    with scratch_role(migrated) as (owner, _), scratch_role(migrated, options) as (name, dsn):
        run(migrated, "CREATE TABLE owned (id int)")
        run(migrated, "ALTER TABLE owned OWNER TO {}", owner)
        run(migrated, "GRANT {} TO {}", owner, name)
        with pytest.raises(schema.UnsafeDatabase, match="owns 1 table"):
            schema.check_walls(dsn, metadata)


@pytest.mark.parametrize("right", ["SUPERUSER", "BYPASSRLS"])
def test_a_role_that_can_become_one_without_walls_is_refused(migrated: str, right: str) -> None:
    with scratch_role(migrated, right) as (mighty, _), scratch_role(migrated) as (name, dsn):
        run(migrated, "GRANT {} TO {}", mighty, name)
        with pytest.raises(schema.UnsafeDatabase):
            schema.check_walls(dsn, metadata)


@pytest.mark.parametrize(
    "statements",
    [
        (),
        ("ALTER TABLE {} ENABLE ROW LEVEL SECURITY",),
        ("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", "ALTER TABLE {} FORCE ROW LEVEL SECURITY"),
        ("ALTER TABLE {} FORCE ROW LEVEL SECURITY", "CREATE POLICY p ON {} USING (true)"),
    ],
    ids=["no wall", "not forced", "no policy", "not enabled"],
)
def test_a_tenant_table_without_its_wall_is_refused(
    migrated: str, runtime: tuple[str, str], statements: tuple[str, ...]
) -> None:
    run(migrated, "CREATE TABLE {} (tenant_id uuid, id uuid)", "planted")
    try:
        for statement in statements:
            run(migrated, statement, "planted")
        with pytest.raises(schema.UnsafeDatabase, match="table planted has no forced row-level security"):
            schema.check_walls(runtime[1], metadata)
    finally:
        run(migrated, "DROP TABLE {}", "planted")


@pytest.mark.parametrize(
    ("kind", "options", "fault"),
    [
        ("VIEW", "", "the view planted reads with the rights of its owner"),
        ("VIEW", "WITH (security_barrier = true)", "the view planted reads with the rights of its owner"),
        ("VIEW", "WITH (security_invoker = false)", "the view planted reads with the rights of its owner"),
        ("MATERIALIZED VIEW", "", "the materialized view planted holds rows that no row-level security applies to"),
    ],
)
def test_a_view_past_the_walls_is_refused(
    migrated: str, runtime: tuple[str, str], kind: str, options: str, fault: str
) -> None:
    run(migrated, f"CREATE {kind} {{}} {options} AS SELECT * FROM pages", "planted")
    try:
        with pytest.raises(schema.UnsafeDatabase, match=fault):
            schema.check_walls(runtime[1], metadata)
    finally:
        run(migrated, f"DROP {kind} {{}}", "planted")


@pytest.mark.parametrize("value", ["true", "on", "1"])
def test_a_view_with_the_rights_of_its_reader_is_accepted(migrated: str, runtime: tuple[str, str], value: str) -> None:
    run(migrated, f"CREATE VIEW {{}} WITH (security_invoker = {value}) AS SELECT * FROM pages", "planted")
    try:
        schema.check_walls(runtime[1], metadata)
    finally:
        run(migrated, "DROP VIEW {}", "planted")


def test_a_table_that_was_not_migrated_is_named(runtime: tuple[str, str]) -> None:
    described = MetaData()
    Table("later", described, uuid_column("tenant_id"), info={ROW_SECURITY: "true"})
    with pytest.raises(schema.UnsafeDatabase, match="table later is missing: run `plinth migrate`"):
        schema.check_walls(runtime[1], described)


# What the runtime role sees ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tenants(stack: Stack) -> tuple[Tenant, Tenant]:
    """Two tenants with a row in every table of tenants."""
    houses = wall.furnished(stack), wall.furnished(stack)
    with database(stack) as connection:
        for house in houses:
            connection.execute("INSERT INTO counters VALUES (%s, 'planted', 1)", (house.tenant.id,))
            connection.execute(
                "INSERT INTO api_key_usage (tenant_id, api_key_id, day, method, calls, failures)"
                " VALUES (%s, %s, '2000-01-01', 'x', 1, 0)",
                (house.tenant.id, house.of("identity.v1.ApiKey")["api_key_id"]),
            )
            connection.execute(
                "INSERT INTO feature_flag_evaluations (tenant_id, flag_id, day, variant, evaluations, last_time)"
                " VALUES (%s, %s, '2000-01-01', 'on', 1, now())",
                (house.tenant.id, house.of("flags.v1.FeatureFlag")["feature_flag_id"]),
            )
            connection.execute(
                "INSERT INTO dictionary_misses (tenant_id, day, language, text, searches)"
                " VALUES (%s, '2000-01-01', '', 'x', 1)",
                (house.tenant.id,),
            )
            connection.execute(
                "INSERT INTO moves (tenant_id, id, name, state, arguments, busy_time, settle_time)"
                " VALUES (%s, gen_random_uuid(), 'x', 2, '{}', now(), now())",
                (house.tenant.id,),
            )
            connection.execute(
                "INSERT INTO inbound_routes (tenant_id, route_hash, adapter, key_id)"
                " VALUES (%s, sha256(%s), 'x', gen_random_uuid())",
                (house.tenant.id, house.tenant.id.encode()),
            )
    return houses[0].tenant, houses[1].tenant


@pytest.fixture
def runtime_connection(stack: Stack) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Direct SQL as the role that serves; rolled back."""
    with psycopg.connect(stack.settings.runtime_dsn) as connection:
        yield connection
        connection.rollback()


def enter(connection: psycopg.Connection[tuple[object, ...]], tenant_id: str) -> None:
    connection.execute("SELECT set_config('plinth.tenant_id', %s, true)", (tenant_id,))


def tenants_in(connection: psycopg.Connection[tuple[object, ...]], table: str) -> set[str]:
    column = "id" if table == "tenants" else "tenant_id"
    query = sql.SQL("SELECT DISTINCT {}::text FROM {}").format(sql.Identifier(column), sql.Identifier(table))
    return {str(row[0]) for row in connection.execute(query).fetchall()}


WALLED = [table.name for table in metadata.sorted_tables if ROW_SECURITY in table.info]
# What belongs to no tenant, such as a sign-up that names none, is seen by who has none.
OF_NOBODY = ("events", "audit_entries", "audit_leaves", "audit_nodes", "audit_checkpoints")


@pytest.mark.parametrize("table", WALLED)
def test_without_a_tenant_nothing_is_seen(
    runtime_connection: psycopg.Connection[tuple[object, ...]], tenants: tuple[Tenant, Tenant], table: str
) -> None:
    assert tenants
    assert tenants_in(runtime_connection, table) <= ({NO_TENANT} if table in OF_NOBODY else set())
    enter(runtime_connection, "")
    assert tenants_in(runtime_connection, table) <= ({NO_TENANT} if table in OF_NOBODY else set())


@pytest.mark.parametrize("table", WALLED)
def test_with_a_tenant_its_own_rows_are_seen_and_no_others(
    runtime_connection: psycopg.Connection[tuple[object, ...]], tenants: tuple[Tenant, Tenant], table: str
) -> None:
    for tenant in tenants:
        enter(runtime_connection, tenant.id)
        seen = tenants_in(runtime_connection, table)
        # A small log has no nodes besides its leaves, and means are made at night.
        assert seen == {tenant.id} or (table in ("audit_nodes", "story_means") and not seen)


@pytest.mark.parametrize("table", [table for table in WALLED if table != "tenants"])
def test_another_tenant_s_rows_cannot_be_changed(
    runtime_connection: psycopg.Connection[tuple[object, ...]], tenants: tuple[Tenant, Tenant], table: str
) -> None:
    ours, theirs = tenants
    enter(runtime_connection, ours.id)
    for statement in (f"UPDATE {table} SET tenant_id = tenant_id", f"DELETE FROM {table}"):
        changed = 0
        # The event log is only added to.
        with suppress(psycopg.errors.InsufficientPrivilege), runtime_connection.transaction():
            changed = runtime_connection.execute(f"{statement} WHERE tenant_id = %s".encode(), (theirs.id,)).rowcount
        assert changed == 0


def test_another_tenant_s_rows_cannot_be_written(
    runtime_connection: psycopg.Connection[tuple[object, ...]], tenants: tuple[Tenant, Tenant]
) -> None:
    ours, theirs = tenants
    enter(runtime_connection, ours.id)
    for statement in (
        "INSERT INTO pages (tenant_id, id, slug, status) VALUES (%s, gen_random_uuid(), 'planted', 1)",
        "UPDATE pages SET tenant_id = %s",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), runtime_connection.transaction():
            runtime_connection.execute(statement, (theirs.id,))


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE pages DISABLE ROW LEVEL SECURITY",
        "DROP POLICY pages_wall ON pages",
        "CREATE TABLE mine (id int)",
        "TRUNCATE pages",
        "SELECT * FROM alembic_version",
        "SET ROLE plinth",
    ],
)
def test_the_runtime_role_cannot_take_the_walls_down(
    runtime_connection: psycopg.Connection[tuple[object, ...]], statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        runtime_connection.execute(statement.encode())
