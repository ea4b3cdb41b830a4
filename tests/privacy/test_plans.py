"""No statement of an erasure reads a table from end to end: plans as the runtime role, under row-level security."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from server import modules
from server.data.statements import Statement
from server.domains.audit import erasure as of_entries
from server.domains.identity import account
from server.domains.tenancy import leaving
from server.domains.webhooks import erasure as of_attempts
from server.kernel.privacy import BATCH, Pseudonymise, Remove, log
from server.kernel.privacy.exporting import _order as order_of
from server.kernel.privacy.exporting import _statement as export_of
from server.kernel.privacy.statements import count_of, step_of
from tests.plans import MODES, plan_of, read_by, scans
from tests.search.database import Scratch, add_tenants, migrated, tenant
from tests.stack import Stack

TENANTS, USERS, EACH = 5, 40, 4_000
OF_PERSON = EACH / USERS
# Those that read on from a cursor, and change what was read.
BATCHES = {"a page of events", "a page of attempts", "emptied attempts", "blanked events", "cleared entries"}
PERSON = "01890000-0000-7000-9000-000000000003"
BEGINNING = {"time": "2020-01-01T00:00:00+00:00", "id": "00000000-0000-0000-0000-000000000000"}
USER = "('01890000-0000-7000-9000-' || lpad(to_hex(n % 40), 12, '0'))::uuid"
FILL = {
    "users": ("id, email, password_hash", f"SELECT DISTINCT ON (n % 40) {USER}, 'a' || n % 40, '' "),
    "sessions": ("id, user_id, rotate_time, expire_time", f"SELECT gen_random_uuid(), {USER}, now(), now() "),
    "sign_in_networks": ("user_id, network", f"SELECT {USER}, n::text "),
}
OF_TENANTS = {
    "memberships": ("user_id, roles", f"DISTINCT ON (n % 40) t.id, {USER}, '{{}}'::text[]"),
    "trips": (
        "id, user_id, title, start_date, end_date, state",
        f"t.id, gen_random_uuid(), {USER}, 'a', now(), now(), 1",
    ),
    "operations": ("id, owner_id, kind, state", f"t.id, gen_random_uuid(), {USER}, 'a', 3"),
    "api_keys": (
        "id, name, environment, permissions, prefix, secret_hash, create_user_id, origin_user_id",
        f"t.id, gen_random_uuid(), 'a', 1, '{{}}'::text[], t.subdomain || n, '', {USER}::text, {USER}::text",
    ),
    "events": (
        "id, type, resource_id, message_type, payload, audience, request_id, create_time",
        f"t.id, gen_random_uuid(), 'a', n::text, 'a', 'a', {USER}, '', now() - n * interval '1 second'",
    ),
    "audit_entries": (
        (
            "id, create_time, actor_kind, actor_id, method, action, resource_type, resource_id, outcome, reason, "
            "security, request_id, changes, personal, commitments, hash"
        ),
        (
            f"t.id, gen_random_uuid(), now() - n * interval '1 second', 1, {USER}, '', '', '', n::text, '', '', false, "
            "'', '', '{\"ip\":1}', '{}', ''"
        ),
    ),
    "webhook_attempts": (
        (
            "delivery_id, number, create_time, duration_ms, status_code, error, request_headers, request_body, "
            "response_headers, response_body"
        ),
        "t.id, gen_random_uuid(), 1, now(), 1, 200, '', '{}'::jsonb, 'a', '{}'::jsonb, 'a'",
    ),
}


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Iterator[Scratch]:
    """Tenants with the traces of many people."""
    with migrated(stack) as scratch:
        add_tenants(scratch.owner, TENANTS)
        with psycopg.connect(scratch.owner, autocommit=True) as connection:
            for table, (columns, rows) in FILL.items():
                connection.execute(f"INSERT INTO {table} ({columns}) {rows} FROM generate_series(1, {EACH}) n".encode())
            for number in range(TENANTS):
                for table, (columns, rows) in OF_TENANTS.items():
                    source = f"FROM tenants t, generate_series(1, {EACH}) n WHERE t.id = '{tenant(number)}'"
                    connection.execute(f"INSERT INTO {table} (tenant_id, {columns}) SELECT {rows} {source}".encode())
            connection.execute(
                b"INSERT INTO expenses (tenant_id, id, user_id, trip_id, category, amount_minor, amount_currency, "
                b"spend_date) SELECT tenant_id, gen_random_uuid(), user_id, id, 1, 1, 'EUR', now() FROM trips"
            )
            connection.execute(b"VACUUM ANALYZE")
        yield scratch


def statements() -> dict[str, tuple[Statement, dict[str, Any]]]:
    """Every statement of an erasure and of an export, with parameters."""
    here = {"tenant": tenant(3), "person": PERSON}
    ids = [tenant(number) for number in range(1000)]
    found: dict[str, tuple[Statement, dict[str, Any]]] = {
        "a page of events": (log.PAGE, {**here, **BEGINNING, "address": "a@b"}),
        "blanked events": (log.BLANK, {"tenant": tenant(3), "ids": ids, "payloads": ["00"] * 1000}),
        "entries by actor": (of_entries.BY_ACTOR, {**here, **BEGINNING}),
        "entries by resource": (of_entries.BY_RESOURCE, {**here, **BEGINNING}),
        "cleared entries": (of_entries.CLEAR, {"tenant": tenant(3), "ids": ids, "names": ["ip"]}),
        "entries of resources": (of_entries.CLEAR_CHANGES_OF, {"tenant": tenant(3), "ids": ids[:100]}),
        "a page of attempts": (of_attempts.PAGE, {"tenant": tenant(3), "after": BEGINNING["id"]}),
        "emptied attempts": (
            of_attempts.EMPTY,
            {**here, "after": BEGINNING["id"], "last": "08000000-0000-0000-0000-000000000000", "address": ""},
        ),
        "revoked keys": (account.REVOKE_KEYS, here),
        "ended sessions": (account.END_SESSIONS, {"person": PERSON}),
        "a membership": (leaving.LEAVE, {"within": tenant(3), "member": PERSON}),
    }
    privacy = modules.privacy()
    for deed in privacy.decisions:
        if isinstance(deed, Remove | Pseudonymise):
            where = here if "tenant_id" in deed.table.c else {"person": PERSON}
            found[f"erased {deed.table.name}"] = step_of(deed), where
            found[f"counted {deed.table.name}"] = count_of(deed), where
    for export in privacy.exports:
        where = here if "tenant_id" in export.table.c else {"person": PERSON}
        found[f"exported {export.table.name}"] = export_of(export, is_first=True), {**where, "left_out": []}
        cursor = {
            f"after_{number}": BEGINNING["time" if term.field.endswith("_time") else "id"]
            for number, term in enumerate(order_of(export))
        }
        found[f"further {export.table.name}"] = export_of(export, is_first=False), {**where, **cursor, "left_out": []}
    return found


def cases() -> list[tuple[str, str]]:
    """Each statement with the ways in which it may be planned. One that is not kept is planned for its parameters."""
    modes = {True: MODES, False: MODES[:1]}
    return [(name, mode) for name, (statement, _) in statements().items() for mode in modes[statement.is_kept]]


@pytest.mark.parametrize(("name", "mode"), cases())
def test_no_table_is_read_from_end_to_end(filled: Scratch, name: str, mode: str) -> None:
    # These tables fit into a few blocks, which are cheaper to read than an index. Those of a deployment do not.
    plan = plan_of(filled, 3, *statements()[name], mode, "enable_seqscan = off")
    whole = [node for node in scans(plan) if node["Node Type"] == "Seq Scan" and read_by(node) > USERS]
    assert not whole, json.dumps(whole, indent=1)
    # A statement reads a batch of the tenant's rows, or those of the person.
    most = BATCH * 1.2 if name in BATCHES else OF_PERSON * 2
    assert all(read_by(node) <= most for node in scans(plan)), json.dumps(plan, indent=1)
