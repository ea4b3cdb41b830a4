"""The bar for a read that is not cached: what somebody writes by hand with grpc.server, psycopg and PyJWT.

- The same SQL as Plinth's in one round trip, as the role that row-level security binds: the scope of the transaction,
  whether session and tenant are still there, and the page.
- A token that was verified is remembered until it expires, in a bounded dictionary, as Plinth does.
- No limits, rules, metrics, log, headers, or deadline of the statement; no message of an error says what was wrong.
"""

import argparse
import os
import time
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import jwt
from plinth.sites.v1 import page_pb2, page_pb2_grpc
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from server.kernel.messages.etags import etag_of

# The generated stubs have no types.
STUBS: Any = page_pb2_grpc
# As many as an api worker of Plinth has by default.
THREADS = 8
REMEMBERED = 10_000
BIND = """
SELECT set_config('plinth.tenant_id', %(tenant)s, true), set_config('plinth.user_id', %(user)s, true),
       set_config('plinth.platform', '', true), set_config('transaction_read_only', 'on', true),
       EXISTS (SELECT FROM sessions WHERE id = %(session)s::uuid AND end_time IS NULL)
       AND EXISTS (SELECT FROM tenants WHERE id = %(tenant)s::uuid AND delete_time IS NULL AND status = 1)
"""
READ = """
SELECT id::text, tenant_id::text, slug, title, description, status, settings, publish_time, create_time, update_time,
       delete_time, version
  FROM pages WHERE tenant_id = %(tenant)s AND id = %(page)s AND delete_time IS NULL
"""


class Caller(NamedTuple):
    """Who calls, from the token."""

    user: str
    tenant: str
    session: str
    expires: float


class Direct(page_pb2_grpc.PageServiceServicer):
    """Reads pages."""

    def __init__(self, pool: ConnectionPool[Any], secret: str) -> None:
        self._pool, self._secret = pool, secret
        self._verified: dict[str, Caller] = {}

    def GetPage(self, request: page_pb2.GetPageRequest, context: grpc.ServicerContext) -> page_pb2.Page:  # noqa: N802
        """Get a page."""
        caller = self._caller(context)
        if caller.tenant != request.tenant_id:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not your tenant")
        with self._pool.connection() as connection:
            with connection.pipeline():
                bound = connection.execute(BIND, caller._asdict(), binary=True)
                found = connection.execute(READ, {"tenant": request.tenant_id, "page": request.page_id}, binary=True)
            is_there, row = bound.fetchone(), found.fetchone()
        if is_there is None or not is_there[-1]:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the session or the tenant is gone")
        if row is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such page")
        return _page(row)

    def _caller(self, context: grpc.ServicerContext) -> Caller:
        authorization = next((str(value) for key, value in context.invocation_metadata() if key == "authorization"), "")
        known = self._verified.get(authorization)
        if known is not None and known.expires > time.time():
            return known
        try:
            claims = jwt.decode(authorization.removeprefix("Bearer "), self._secret, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not good")
        caller = Caller(claims["sub"], claims["tid"], claims["sid"], claims["exp"])
        if len(self._verified) >= REMEMBERED:
            self._verified.clear()
        self._verified[authorization] = caller
        return caller


def _page(row: TupleRow) -> page_pb2.Page:
    page_id, tenant_id, slug, title, description, status, settings, publish, create, update, delete, version = row
    page = page_pb2.Page(
        id=page_id,
        tenant_id=tenant_id,
        slug=slug,
        title=title,
        description=description,
        status=status,
        etag=etag_of(page_id, version),
    )
    if settings is not None:
        page.settings.update(settings)
    for field, moment in (("publish_time", publish), ("create_time", create), ("update_time", update)):
        if moment is not None:
            getattr(page, field).FromDatetime(moment)
    if delete is not None:
        page.delete_time.FromDatetime(delete)
    return page


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket", type=Path, help="unix socket to listen on")
    arguments = parser.parse_args()
    dsn, secret = os.environ["BENCH_DATABASE_URL"], os.environ["BENCH_JWT_SECRET"]
    with ConnectionPool(dsn, min_size=THREADS, max_size=THREADS, kwargs={"autocommit": True}) as pool:
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=THREADS))
        STUBS.add_PageServiceServicer_to_server(Direct(pool, secret), server)
        server.add_insecure_port(f"unix:{arguments.socket}")
        server.start()
        server.wait_for_termination()


if __name__ == "__main__":
    main()
