"""A database of one's own in the stack's PostgreSQL, and roles of one's own; both are gone after the test."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from server.embedded.postgres import ADMINISTRATOR
from tests.clients import unique
from tests.stack import Stack

PASSWORD = "scratch"


def administrator(stack: Stack, database: str = "plinth") -> str:
    """The superuser of the stack's PostgreSQL, in one of its databases."""
    return make_conninfo(host=str(stack.settings.socket_dir), user=ADMINISTRATOR, dbname=database)


def run(dsn: str, statement: str, *names: str) -> None:
    """One statement; `{}` stands for identifiers."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def scratch_database(stack: Stack) -> Iterator[str]:
    """The superuser's way into an empty database."""
    name = unique("scratch")
    run(administrator(stack), "CREATE DATABASE {} STRATEGY file_copy", name)
    try:
        yield administrator(stack, name)
    finally:
        run(administrator(stack), "DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def scratch_role(dsn: str, options: str = "") -> Iterator[tuple[str, str]]:
    """A login and its way into the database of a superuser's dsn. What it owns there goes with it."""
    name = unique("role")
    run(dsn, f"CREATE ROLE {{}} LOGIN {options} PASSWORD '{PASSWORD}'", name)
    try:
        yield name, make_conninfo(dsn, user=name, password=PASSWORD)
    finally:
        run(dsn, "DROP OWNED BY {} CASCADE", name)
        run(dsn, "DROP ROLE {}", name)
