# FastAPI is installed for `make bench` only, so its decorators may have no types where types are checked.
# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""GetPage in FastAPI, tuned by hand: what someone writes for whom every microsecond counts.

- asyncpg without SQLAlchemy; it keeps the statement prepared, and the pool's reset after each use is switched off.
- orjson without pydantic; the settings' JSON goes from the database into the answer unread.
- The path is taken from the request, so FastAPI solves no dependencies and validates nothing.
- A token that was verified is remembered until it expires, in a bounded dictionary, as Plinth does.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import jwt
import orjson
from fastapi import FastAPI, Request, Response

CONNECTIONS = 10
REMEMBERED = 10_000
SQL = """
SELECT slug, title, description, status, settings, publish_time, create_time, update_time, etag
FROM pages WHERE id = $1 AND tenant_id = $2
"""


class Caller(NamedTuple):
    """Who calls, from the token."""

    user: str
    tenant: str
    expires: float


async def _keep(_connection: object) -> None:
    """Reset nothing when a connection goes back: the statements here leave nothing behind."""


@asynccontextmanager
async def open_pool() -> AsyncIterator[asyncpg.Pool]:
    """Connect to the database."""
    dsn = os.environ["BENCH_DATABASE_URL"]
    async with asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, reset=_keep) as pool:
        yield pool


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    async with open_pool() as application.state.pool:
        yield


app = FastAPI(lifespan=_lifespan)
_verified: dict[str, Caller] = {}


def caller_of(authorization: str) -> Caller | None:
    """Tell whose bearer token this is, or None when the token is not good."""
    known = _verified.get(authorization)
    if known is not None and known.expires > time.time():
        return known
    try:
        token = authorization.removeprefix("Bearer ")
        claims: dict[str, Any] = jwt.decode(token, os.environ["BENCH_JWT_SECRET"], algorithms=["HS256"])
        caller = Caller(str(claims["sub"]), str(claims["tenant"]), float(claims["exp"]))
    except (jwt.InvalidTokenError, KeyError, ValueError):
        return None
    if len(_verified) >= REMEMBERED:
        _verified.clear()
    _verified[authorization] = caller
    return caller


async def read_page(pool: asyncpg.Pool, tenant_id: str, page_id: UUID) -> bytes | None:
    """Read a page as the JSON to answer, or None when there is none."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(SQL, page_id, tenant_id)
    if row is None:
        return None
    answer = {
        "id": page_id,
        "tenantId": tenant_id,
        "slug": row["slug"],
        "title": row["title"],
        "description": row["description"],
        "status": row["status"],
        "settings": orjson.Fragment(row["settings"]),
        "publishTime": row["publish_time"],
        "createTime": row["create_time"],
        "updateTime": row["update_time"],
        "etag": row["etag"],
    }
    text: bytes = orjson.dumps(answer, option=orjson.OPT_UTC_Z)
    return text


@app.get("/api/v1/tenants/{tenant_id}/pages/{page_id}", response_model=None)  # noqa: FAST003 - read by hand
async def get_page(request: Request) -> Response:
    """Get a page."""
    tenant_id, page_id = request.path_params["tenant_id"], request.path_params["page_id"]
    caller = caller_of(request.headers.get("authorization", ""))
    if caller is None:
        return Response(status_code=401)
    try:
        key = UUID(page_id)
    except ValueError:
        return Response(status_code=422)
    answer = await read_page(request.app.state.pool, caller.tenant, key) if caller.tenant == tenant_id else None
    if answer is None:
        return Response(status_code=404)
    return Response(answer, media_type="application/json")
