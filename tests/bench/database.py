"""What the measurements need from PostgreSQL: the baselines' tables, a million rows, and counts to check against."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

BASELINE = "bench_baseline"
TABLES = """
CREATE TABLE pages (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  slug text NOT NULL,
  title text NOT NULL,
  description text NOT NULL,
  status text NOT NULL,
  settings jsonb NOT NULL,
  publish_time timestamptz,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  etag text NOT NULL,
  UNIQUE (tenant_id, slug)
);
CREATE INDEX ON pages (tenant_id, create_time, id);
CREATE TABLE events (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  page_id uuid NOT NULL,
  type text NOT NULL,
  payload jsonb NOT NULL,
  create_time timestamptz NOT NULL
);
CREATE INDEX ON events (tenant_id, create_time);
CREATE TABLE templates (id uuid PRIMARY KEY, sections jsonb NOT NULL);
CREATE TABLE sections (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  page_id uuid NOT NULL REFERENCES pages,
  kind text NOT NULL,
  title text NOT NULL,
  content jsonb NOT NULL,
  place integer NOT NULL
);
CREATE INDEX ON sections (page_id, place);
CREATE TABLE files (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  filename text NOT NULL,
  content_type text NOT NULL,
  size integer NOT NULL,
  sha256 text NOT NULL,
  create_time timestamptz NOT NULL
);
"""
INSERT_PAGE = """
INSERT INTO pages VALUES (%(id)s, %(tenantId)s, %(slug)s, %(title)s, %(description)s, %(status)s, %(settings)s,
  %(publishTime)s, %(createTime)s, %(updateTime)s, %(etag)s)
"""
DURABILITY = """
SELECT name, setting FROM pg_settings
 WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'commit_delay', 'wal_sync_method') ORDER BY name
"""
# Copies of a page that is there, so that this knows little of the table. Each is a second older than the one before.
FILL = """
INSERT INTO pages
SELECT filled.*
  FROM (SELECT pages FROM pages WHERE tenant_id = %(tenant)s LIMIT 1) AS found (template),
       generate_series(1, %(rows)s) AS number,
       LATERAL (SELECT make_interval(secs => -number)) AS age (age),
       LATERAL jsonb_populate_record(template, jsonb_build_object(
         'id', uuidv7(age),
         'slug', %(prefix)s || '-' || number,
         'description', '',
         'settings', '{}'::jsonb,
         'create_time', (template).create_time + age,
         'update_time', (template).create_time + age
       )) AS filled
"""


def baseline_url(folder: str, user: str = "postgres") -> str:
    """Make the address of the baselines' database in the PostgreSQL whose socket is in this folder."""
    return f"postgresql://{user}@/{BASELINE}?host={quote(folder, safe='')}"


def make_baseline(admin_dsn: str, url: str, page: dict[str, Any]) -> None:
    """Make the baselines' database anew, holding the same page that Plinth holds."""
    name = sql.Identifier(BASELINE)
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    with psycopg.connect(url) as connection:
        connection.execute(TABLES)
        connection.execute(INSERT_PAGE, page | {"settings": Jsonb(page["settings"])})


PAGES_AND_EVENTS = {
    "pages": "SELECT count(*) FROM pages WHERE tenant_id = %(tenant)s",
    "events": "SELECT count(*) FROM events WHERE tenant_id = %(tenant)s AND type = 'page.created'",
}
# What a page leaves in Plinth beside them, with an idempotency key and a job.
ALL_OF_IT = PAGES_AND_EVENTS | {
    "audit entries": "SELECT count(*) FROM audit_entries WHERE tenant_id = %(tenant)s AND action = 'page.created'",
    "jobs": "SELECT count(*) FROM procrastinate_jobs WHERE args ->> 'tenant_id' = %(tenant)s",
    "idempotency records": "SELECT count(*) FROM idempotency_records",
}
AUDITED = "SELECT count(*) FROM audit_entries WHERE tenant_id = %(tenant)s"
TOLD = "SELECT count(*) FROM events WHERE tenant_id = %(tenant)s"
# What a point leaves, and what it does not.
POINTS = {
    "points": "SELECT count(*) FROM points WHERE tenant_id = %(tenant)s",
    "audit entries": AUDITED,
    "events": TOLD,
}


def durability(dsn: str) -> str:
    """The settings by which what was committed outlives a crash, of both databases: they are in one PostgreSQL."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(DURABILITY).fetchall()
    return "PostgreSQL of both: " + ", ".join(f"{name} {value}" for name, value in found) + "."


def counter(
    dsn: str, tenant_id: str, queries: Mapping[str, LiteralString] = PAGES_AND_EVENTS
) -> Callable[[], dict[str, int]]:
    """Make a function that counts what a tenant has."""

    def counted() -> dict[str, int]:
        with psycopg.connect(dsn) as connection:
            found = {}
            for what, query in queries.items():
                row = connection.execute(query, {"tenant": tenant_id}).fetchone()
                assert row is not None
                found[what] = int(row[0])
        return found

    return counted


@contextmanager
def changed_page(dsn: str, page_id: str) -> Iterator[None]:
    """Give a page another title for a while, behind the server's back."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE pages SET title = title || '!' WHERE id = %s", (page_id,))
        try:
            yield
        finally:
            connection.execute("UPDATE pages SET title = left(title, -1) WHERE id = %s", (page_id,))


def fill(dsn: str, tenant_id: str, rows: int, prefix: str = "bench-row") -> None:
    """Add so many pages to a tenant that has one, and gather statistics."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        # As a superuser: row-level security is forced on the owner too.
        connection.execute(FILL, {"tenant": tenant_id, "rows": rows, "prefix": prefix})
        connection.execute("VACUUM (ANALYZE) pages")
