# FastAPI is installed for `make bench` only, so its decorators may have no types where types are checked.
# mypy: disable-error-code="import-not-found, untyped-decorator, no-untyped-call, misc"
"""GetPage of fastapi_tuned.py with a rate limit and a response cache in Redis, tuned by hand likewise.

- One round trip to Redis does both: a script counts the call in a fixed window and gets the page.
- What is cached is the finished JSON, so a hit is parsed by nobody.
- redis.asyncio with hiredis, but its connections without its client: with that, a request costs a third more.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from fastapi import FastAPI, Request, Response
from redis import asyncio as aioredis

from tests.bench.baselines.fastapi_tuned import caller_of, open_pool, read_page

PREFIX = "bench-tuned"
# Counted as a real one, yet never reached.
CALLS, SECONDS = 100_000_000, 60
TTL = 300
# KEYS: the caller's window and the page. It answers how long to wait, the page, or nil.
SCRIPT = """
local calls = redis.call('INCR', KEYS[1])
if calls == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
if calls > tonumber(ARGV[1]) then return redis.call('TTL', KEYS[1]) end
return redis.call('GET', KEYS[2])
"""


class Gate:
    """Counts a call and looks for its answer, in one round trip."""

    def __init__(self, client: aioredis.Redis, sha: str) -> None:
        self._client, self._sha = client, sha
        self._free: list[aioredis.Connection] = []

    async def enter(self, user: str, page_key: str) -> bytes | int | None:
        """Answer the cached page, the seconds to wait when the limit is reached, or None."""
        connection = self._free.pop() if self._free else await self._client.connection_pool.get_connection()
        # One that fails is not used again.
        await connection.send_command(
            "EVALSHA", self._sha, 2, f"{PREFIX}:calls:{user}", page_key, CALLS, SECONDS, check_health=False
        )
        found: bytes | int | None = await connection.read_response()
        self._free.append(connection)
        return found

    async def keep(self, page_key: str, answer: bytes) -> None:
        """Cache an answer."""
        await self._client.set(page_key, answer, ex=TTL)


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    async with open_pool() as application.state.pool, aioredis.from_url(os.environ["BENCH_REDIS_URL"]) as client:
        application.state.gate = Gate(client, await client.script_load(SCRIPT))
        yield


app = FastAPI(lifespan=_lifespan)


@app.get("/api/v1/tenants/{tenant_id}/pages/{page_id}", response_model=None)  # noqa: FAST003 - read by hand
async def get_page(request: Request) -> Response:
    """Get a page."""
    tenant_id, page_id = request.path_params["tenant_id"], request.path_params["page_id"]
    caller = caller_of(request.headers.get("authorization", ""))
    if caller is None:
        return Response(status_code=401)
    if caller.tenant != tenant_id:
        return Response(status_code=404)
    gate: Gate = request.app.state.gate
    page_key = f"{PREFIX}:page:{tenant_id}:{page_id}"
    found = await gate.enter(caller.user, page_key)
    if isinstance(found, int):
        return Response(status_code=429, headers={"Retry-After": str(found)})
    if found is None:
        found = await _read(request, tenant_id, page_id)
        if found is None:
            return Response(status_code=404)
        await gate.keep(page_key, found)
    return Response(found, media_type="application/json")


async def _read(request: Request, tenant_id: str, page_id: str) -> bytes | None:
    try:
        key = UUID(page_id)
    except ValueError:
        return None
    return await read_page(request.app.state.pool, tenant_id, key)
