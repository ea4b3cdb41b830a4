# FastAPI is installed for `make bench` only, so its decorators may have no types where types are checked.
# mypy: disable-error-code="import-not-found, untyped-decorator, arg-type, misc"
"""GetPage of fastapi_documented.py with a rate limit and a response cache in Redis, as their documentation has one do.

- slowapi, the limiter most used with FastAPI: a decorator, `storage_uri` names Redis, the key is the caller.
- fastapi-cache2: a decorator, RedisBackend, JSON as its coder delivers it. The key is made of method and path, by the
  key builder of its README. The default one takes in the arguments, of which the session is another one each time, and
  would never hit.

slowapi's headers stay off, as it delivers them: they would cost another round trip to Redis.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Request, status
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from redis import asyncio as aioredis
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from tests.bench.baselines import fastapi_documented as documented
from tests.bench.baselines.fastapi_documented import Caller, PageOut, PageRow, bearer, get_session

# unix:///...
REDIS_URL = os.environ["BENCH_REDIS_URL"]
PREFIX = "bench-documented"
# Counted as a real one, yet never reached.
LIMIT = "100000000/minute"
TTL = 300


def caller_key(request: Request) -> str:
    """Limit by the user, whom get_caller found."""
    return str(request.state.user_id)


def request_key_builder(
    _function: Callable[..., Any], namespace: str = "", *, request: Request, **_rest: object
) -> str:
    """Cache by method, path and query."""
    query = repr(sorted(request.query_params.items()))
    return f"{namespace}:{request.method.lower()}:{request.url.path}:{query}"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Set the cache up."""
    redis = aioredis.from_url(REDIS_URL)
    FastAPICache.init(RedisBackend(redis), prefix=PREFIX)
    yield


limiter = Limiter(key_func=caller_key, storage_uri=f"redis+{REDIS_URL}", key_prefix=PREFIX)
app = FastAPI(lifespan=lifespan)
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


async def get_caller(request: Request, tenant_id: UUID, token: Annotated[str, Depends(bearer)]) -> Caller:
    """Check the token, and leave the user where the limiter finds it."""
    caller = await documented.get_caller(tenant_id, token)
    request.state.user_id = caller.user_id
    return caller


@app.get("/api/v1/tenants/{tenant_id}/pages/{page_id}")
@limiter.limit(LIMIT)
@cache(expire=TTL, key_builder=request_key_builder)
async def get_page(
    request: Request,  # noqa: ARG001 - slowapi and the cache find it here
    page_id: UUID,
    caller: Annotated[Caller, Depends(get_caller)],
    session: Annotated[AsyncSession, Depends(get_session)],
) -> PageOut:
    """Get a page."""
    page = await session.scalar(select(PageRow).where(PageRow.id == page_id, PageRow.tenant_id == caller.tenant_id))
    if page is None:
        raise HTTPException(status_code=status.HTTP_404_NOT_FOUND, detail="No such page")
    return PageOut.model_validate(page)
