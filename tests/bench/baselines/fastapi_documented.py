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

import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import jwt
from fastapi import Depends, FastAPI, HTTPException, Query, UploadFile, status
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import DateTime, create_engine, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm import Session as SyncSession

ALGORITHM = "HS256"
CONNECTIONS = 10

app = FastAPI()
engine = create_async_engine(
    re.sub(r"^postgresql:", "postgresql+asyncpg:", os.environ["BENCH_DATABASE_URL"]),
    pool_size=CONNECTIONS,
    max_overflow=0,
)
# For what reads a file, which FastAPI runs in a thread.
sync_engine = create_engine(re.sub(r"^postgresql:", "postgresql+psycopg:", os.environ["BENCH_DATABASE_URL"]))
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


class TemplateRow(Base):
    """What a page begins with."""

    __tablename__ = "templates"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    sections: Mapped[dict[str, Any]]


class SectionRow(Base):
    """A part of a page."""

    __tablename__ = "sections"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID]
    page_id: Mapped[UUID]
    kind: Mapped[str]
    title: Mapped[str]
    content: Mapped[dict[str, Any]]
    place: Mapped[int]


class FileRow(Base):
    """A file that was uploaded."""

    __tablename__ = "files"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant_id: Mapped[UUID]
    filename: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int]
    sha256: Mapped[str]
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
    page_template_id: UUID | None = None


class SectionOut(CamelModel):
    """A section as it is answered."""

    id: UUID
    page_id: UUID
    kind: str
    title: str
    content: dict[str, Any]
    place: int


class SectionsOut(CamelModel):
    """Sections in their order."""

    sections: list[SectionOut]


class Order(CamelModel):
    """The order of sections."""

    ids: list[UUID] = Field(max_length=1000)


class FileOut(CamelModel):
    """A file as it is answered."""

    id: UUID
    filename: str
    content_type: str
    size: int
    sha256: str
    create_time: datetime


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
        **body.model_dump(exclude={"page_template_id"}),
    )
    payload = PageOut.model_validate(page).model_dump(mode="json", by_alias=True)
    event = EventRow(tenant_id=caller.tenant_id, page_id=page.id, type="page.created", payload=payload, create_time=now)
    session.add_all([page, event])
    if body.page_template_id is not None:
        template = await session.get_one(TemplateRow, body.page_template_id)
        await session.flush()
        session.add_all(
            SectionRow(tenant_id=caller.tenant_id, page_id=page.id, place=place, **section)
            for place, section in enumerate(template.sections["sections"], 1)
        )
    try:
        await session.commit()
    except IntegrityError as error:
        raise HTTPException(status_code=status.HTTP_409_CONFLICT, detail="The slug is taken") from error
    return page


@app.put("/api/v1/tenants/{tenant_id}/pages/{page_id}/sections/reorder", response_model=SectionsOut)
async def reorder_sections(
    page_id: UUID,
    order: Order,
    caller: Annotated[Caller, Depends(get_caller)],
    session: Annotated[AsyncSession, Depends(get_session)],
) -> dict[str, Any]:
    """Put the sections of a page into another order."""
    page = await session.scalar(
        select(PageRow).where(PageRow.id == page_id, PageRow.tenant_id == caller.tenant_id).with_for_update()
    )
    if page is None:
        raise HTTPException(status_code=status.HTTP_404_NOT_FOUND, detail="No such page")
    found = await session.scalars(select(SectionRow).where(SectionRow.page_id == page_id))
    sections = {section.id: section for section in found}
    if sections.keys() != set(order.ids):
        raise HTTPException(status_code=status.HTTP_422_UNPROCESSABLE_ENTITY, detail="Name every section once")
    for place, section_id in enumerate(order.ids, 1):
        sections[section_id].place = place
    answer = SectionsOut(sections=[SectionOut.model_validate(sections[each]) for each in order.ids])
    payload = {"ids": [str(each) for each in order.ids]}
    now = datetime.now(UTC)
    event = EventRow(tenant_id=caller.tenant_id, page_id=page_id, type="section.reordered", payload=payload)
    event.create_time = now
    session.add(event)
    await session.commit()
    return answer.model_dump()


@app.post("/api/v1/tenants/{tenant_id}/assets/upload", response_model=FileOut, status_code=status.HTTP_201_CREATED)
def upload_file(
    file: UploadFile,
    caller: Annotated[Caller, Depends(get_caller)],
) -> FileRow:
    """Store a file: in a folder, with its hash in a row."""
    file_id, digest, size = uuid4(), hashlib.sha256(), 0
    with (Path(os.environ["BENCH_FOLDER"]) / str(file_id)).open("wb") as stored:
        while piece := file.file.read(1024 * 1024):
            digest.update(piece)
            size += len(piece)
            stored.write(piece)
    row = FileRow(
        id=file_id,
        tenant_id=caller.tenant_id,
        filename=file.filename or "file",
        content_type=file.content_type or "application/octet-stream",
        size=size,
        sha256=digest.hexdigest(),
        create_time=datetime.now(UTC),
    )
    with SyncSession(sync_engine, expire_on_commit=False) as session:
        session.add(row)
        session.commit()
    return row
