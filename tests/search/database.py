"""A database of its own with the tables of the product, and its runtime role, whom row-level security binds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg

from server import modules
from server.data import schema
from tests.contract.scratch import scratch_database, scratch_role
from tests.stack import Stack


class Scratch(NamedTuple):
    """The ways into the database."""

    owner: str
    runtime: str
    dispatch: str


@contextmanager
def migrated(stack: Stack) -> Iterator[Scratch]:
    """An empty database after all migrations."""
    with scratch_database(stack) as owner:
        schema.migrate(owner)
        with scratch_role(owner) as (runtime, own), scratch_role(owner) as (dispatch, other):
            modules.grant(owner, runtime=runtime, dispatch=dispatch)
            yield Scratch(owner, own, other)


def tenant(number: int) -> str:
    """The id of a tenant."""
    return f"01890000-0000-7000-8000-{number:012x}"


def add_tenants(owner: str, count: int) -> None:
    """Tenants without anything in them."""
    with psycopg.connect(owner) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO tenants (id, subdomain, name, status) VALUES (%s, %s, 'Tenant', 1)",
            [(tenant(number), f"t{number}") for number in range(count)],
        )


def bind(connection: psycopg.Connection[tuple[object, ...]], number: int) -> None:
    """Make this the tenant of a session."""
    connection.execute("SELECT set_config('plinth.tenant_id', %s, false)", (tenant(number),))
