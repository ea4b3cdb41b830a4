# FastAPI is installed for `make bench` only, so its decorators may have no types where types are checked.
# mypy: disable-error-code="import-not-found, untyped-decorator, misc"
"""Pages as the documentation of FastAPI, SQLAlchemy and pydantic has one write them.

- FastAPI's security tutorial: an OAuth2 bearer token, an HS256 JWT that PyJWT checks in a dependency.
- SQLAlchemy's asyncio guide: asyncpg, `async_sessionmaker(expire_on_commit=False)`, ORM classes, a session per request.
- pydantic models for the body and the answer, in camel case.

The tenant is kept apart by a WHERE, not by row-level security. The pool has as many connections as an api worker of
Plinth. SQLAlchemy's default, 5 and 10 more that are opened and closed under load, costs this process as much and
PostgreSQL twice as much.
"""

import os
import re
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import jwt
from fastapi import Depends, FastAPI, HTTPException, Query, status
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import DateTime, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ALGORITHM = "HS256"
CONNECTIONS = 10

app = FastAPI()
engine = create_async_engine(
    re.sub(r"^postgresql:", "postgresql+asyncpg:", os.environ["BENCH_DATABASE_URL"]),
    pool_size=CONNECTIONS,
    max_overflow=0,
)
Session = async_sessionmaker(engine, expire_on_commit=False)
bearer = OAuth2PasswordBearer(tokenUrl="token")


class Base(DeclarativeBase):
    """The tables."""

    type_annotation_map = {dict[str, Any]: JSONB, datetime: DateTime(timezone=True)}  # noqa: RUF012 as SQLAlchemy shows it


class PageRow(Base):
    """A page."""

    __tablename__ = "pages"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID]
    slug: Mapped[str]
    title: Mapped[str]
    description: Mapped[str]
    status: Mapped[str]
    settings: Mapped[dict[str, Any]]
    publish_time: Mapped[datetime | None]
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]
    etag: Mapped[str]


class EventRow(Base):
    """Something that happened to a page."""

    __tablename__ = "events"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID]
    page_id: Mapped[UUID]
    type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    create_time: Mapped[datetime]


class Caller(BaseModel):
    """Who calls, from the token."""

    user_id: UUID
    tenant_id: UUID


class CamelModel(BaseModel):
    """Names in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class PageCreate(CamelModel):
    """The page to create, with the rules of page.proto."""

    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)
    title: str = Field("", max_length=300)
    description: str = Field("", max_length=2000)
    settings: dict[str, Any] = Field(default_factory=dict)


class PageOut(CamelModel):
    """A page as it is answered."""

    id: UUID
    tenant_id: UUID
    slug: str
    title: str
    description: str
    status: str
    settings: dict[str, Any]
    publish_time: datetime | None
    create_time: datetime
    update_time: datetime
    etag: str


class PagesOut(CamelModel):
    """A page of pages."""

    pages: list[PageOut]
    next_page_token: str


async def get_session() -> AsyncIterator[AsyncSession]:
    """Open a session for the request."""
    async with Session() as session:
        yield session


async def get_caller(tenant_id: UUID, token: Annotated[str, Depends(bearer)]) -> Caller:
    """Check the token, and that its tenant is the one in the path."""
    try:
        claims = jwt.decode(token, os.environ["BENCH_JWT_SECRET"], algorithms=[ALGORITHM])
        caller = Caller(user_id=claims["sub"], tenant_id=claims["tenant"])
    except (jwt.InvalidTokenError, KeyError, ValueError) as error:
        raise HTTPException(
            status_code=status.HTTP_401_UNAUTHORIZED,
            detail="Could not validate credentials",
            headers={"WWW-Authenticate": "Bearer"},
        ) from error
    if caller.tenant_id != tenant_id:
        raise HTTPException(status_code=status.HTTP_404_NOT_FOUND, detail="No such tenant")
    return caller


@app.get("/api/v1/tenants/{tenant_id}/pages/{page_id}", response_model=PageOut)
async def get_page(
    page_id: UUID,
    caller: Annotated[Caller, Depends(get_caller)],
    session: Annotated[AsyncSession, Depends(get_session)],
) -> PageRow:
    """Get a page."""
    page = await session.scalar(select(PageRow).where(PageRow.id == page_id, PageRow.tenant_id == caller.tenant_id))
    if page is None:
        raise HTTPException(status_code=status.HTTP_404_NOT_FOUND, detail="No such page")
    return page


@app.get("/api/v1/tenants/{tenant_id}/pages/slug/{slug}", response_model=PageOut)
async def get_page_by_slug(
    slug: str,
    caller: Annotated[Caller, Depends(get_caller)],
    session: Annotated[AsyncSession, Depends(get_session)],
) -> PageRow:
    """Get a page by its slug."""
    page = await session.scalar(select(PageRow).where(PageRow.tenant_id == caller.tenant_id, PageRow.slug == slug))
    if page is None:
        raise HTTPException(status_code=status.HTTP_404_NOT_FOUND, detail="No such page")
    return page


@app.get("/api/v1/tenants/{tenant_id}/pages", response_model=PagesOut)
async def list_pages(
    caller: Annotated[Caller, Depends(get_caller)],
    session: Annotated[AsyncSession, Depends(get_session)],
    page_size: Annotated[int, Query(alias="pageSize", ge=1, le=200)] = 25,
) -> dict[str, Any]:
    """List pages, newest first."""
    newest = (
        select(PageRow)
        .where(PageRow.tenant_id == caller.tenant_id)
        .order_by(PageRow.create_time.desc(), PageRow.id.desc())
    )
    return {"pages": (await session.scalars(newest.limit(page_size))).all(), "nextPageToken": ""}


@app.post("/api/v1/tenants/{tenant_id}/pages", response_model=PageOut, status_code=status.HTTP_201_CREATED)
async def create_page(
    body: PageCreate,
    caller: Annotated[Caller, Depends(get_caller)],
    session: Annotated[AsyncSession, Depends(get_session)],
) -> PageRow:
    """Create a page and its event in one transaction."""
    now = datetime.now(UTC)
    page = PageRow(
        id=uuid4(),
        tenant_id=caller.tenant_id,
        status="STATUS_DRAFT",
        create_time=now,
        update_time=now,
        etag=f'W/"{secrets.token_hex(8)}"',
        **body.model_dump(),
    )
    payload = PageOut.model_validate(page).model_dump(mode="json", by_alias=True)
    event = EventRow(tenant_id=caller.tenant_id, page_id=page.id, type="page.created", payload=payload, create_time=now)
    session.add_all([page, event])
    try:
        await session.commit()
    except IntegrityError as error:
        raise HTTPException(status_code=status.HTTP_409_CONFLICT, detail="The slug is taken") from error
    return page
