"""The first tenant of a fresh deployment: its owner, and a few pages to look at."""

import base64
import hashlib
from dataclasses import dataclass

from plinth.sites.v1.page_pb2 import Page
from plinth.tenancy.v1.tenant_pb2 import Tenant
from sqlalchemy import bindparam, insert, select

from server.data.statements import Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.identity.auth import ADD_USER, BY_EMAIL
from server.domains.identity.passwords import Passwords
from server.domains.sites.tables import pages
from server.domains.tenancy.branding import DEFAULTS
from server.domains.tenancy.tables import tenants
from server.domains.tenancy.tenants import ADD_BRANDING, ADD_DOMAIN, ADD_MEMBERSHIP, OWNER, add_built_in_roles
from server.kernel.ids import new_id
from server.kernel.keys import derive_key
from server.settings import Settings

EMAIL = "owner@plinth.example"
SUBDOMAIN = "demo"
PAGES = (
    ("home", "Welcome", "What this site is about."),
    ("about", "About us", "Who is behind it."),
    ("contact", "Contact", "How to reach us."),
)


@dataclass(frozen=True)
class Seeded:
    """A login that works."""

    email: str
    password: str
    tenant_id: str


def _insertion(table: object, *names: str) -> Statement:
    columns = table.c  # type: ignore[attr-defined]
    return Statement(insert(table).values({n: bindparam(n, type_=columns[n].type) for n in names}))  # type: ignore[arg-type]


ADD_TENANT = _insertion(tenants, "id", "subdomain", "name", "status")
ADD_PAGE = _insertion(pages, "tenant_id", "id", "slug", "title", "description", "status")
FIND_TENANT = Statement(
    select(tenants.c.id).where(
        tenants.c.subdomain == bindparam("label", type_=tenants.c.subdomain.type), tenants.c.delete_time.is_(None)
    )
)


def seed_tenant(database: Database, settings: Settings) -> Seeded:
    """Make what is missing, in one transaction; answer the login, which follows from the deployment's secret."""
    password = _password(settings.secret)
    with database.write(Scope(platform=True)) as transaction:
        user = transaction.run(BY_EMAIL, address=EMAIL).first()
        tenant = transaction.run(FIND_TENANT, label=SUBDOMAIN).first()
        if user is None:
            return Seeded(EMAIL, password, _seed(transaction, password, settings))
    return Seeded(EMAIL, password, tenant["id"] if tenant else "")


def _password(secret: bytes) -> str:
    """A password that keeps the rules, the same for one secret."""
    digest = hashlib.sha256(derive_key(secret, "seeded password")).digest()
    return "P1-" + base64.urlsafe_b64encode(digest[:12]).decode()


def _seed(transaction: WriteTransaction, password: str, settings: Settings) -> str:
    user_id, tenant_id = new_id(), new_id()
    write = transaction.queue
    transaction.bind(Scope(tenant_id=tenant_id, user_id=user_id))
    hashed = Passwords(settings.password_memory).hash(password)
    write(ADD_USER, id=user_id, email=EMAIL, password_hash=hashed, first_name="Olivia", last_name="Owner")
    write(ADD_TENANT, id=tenant_id, subdomain=SUBDOMAIN, name="Demo", status=int(Tenant.STATUS_ACTIVE))
    write(ADD_BRANDING, tenant_id=tenant_id, id=new_id(), **DEFAULTS)
    write(ADD_DOMAIN, tenant_id=tenant_id, id=new_id(), hostname=f"{SUBDOMAIN}.{settings.sites_domain}")
    write(ADD_MEMBERSHIP, tenant_id=tenant_id, user_id=user_id, roles=[OWNER])
    add_built_in_roles(transaction, tenant_id)
    for slug, title, description in PAGES:
        draft = int(Page.STATUS_DRAFT)
        write(ADD_PAGE, tenant_id=tenant_id, id=new_id(), slug=slug, title=title, description=description, status=draft)
    return tenant_id
