"""The first tenant of a fresh deployment: its owner, somebody in every other role, and a few sample pages."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from plinth.sites.v1.page_pb2 import Page
from plinth.tenancy.v1.tenant_pb2 import Tenant
from sqlalchemy import Text, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import insert

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.identity.passwords import Passwords
from server.domains.identity.user_rows import ADD_USER, BY_EMAIL
from server.domains.sites.default_templates import DEFAULT_TEMPLATES
from server.domains.sites.tables import page_templates, pages
from server.domains.tenancy.branding import DEFAULTS
from server.domains.tenancy.memberships import Memberships
from server.domains.tenancy.tables import tenants
from server.domains.tenancy.tenants import ADD_BRANDING, ADD_DOMAIN, ADD_MEMBERSHIP, OWNER, add_built_in_roles
from server.kernel.ids import new_id
from server.kernel.keys import derive_key
from server.settings import Settings

EMAIL = "owner@plinth.example"
SUBDOMAIN = "demo"
# Somebody in every other built-in role. They sign in with the owner's password.
PEOPLE = {
    "admin": ("Adam", "Admin"),
    "editor": ("Edith", "Editor"),
    "member": ("Mia", "Member"),
    "viewer": ("Vera", "Viewer"),
    "employee": ("Emil", "Employee"),
    "partner": ("Paula", "Partner"),
}
PAGES = (
    ("home", "Welcome", "What this site is about."),
    ("about", "About us", "Who is behind it."),
    ("contact", "Contact", "How to reach us."),
)


PRODUCTION = "production"
SIGN_UP = "sign up with POST /api/v1/auth/signup, log in, and make a tenant with POST /api/v1/tenants"


@dataclass(frozen=True)
class Seeded:
    """A login that was tried, or the reason why no login can be shown."""

    email: str = ""
    password: str = ""
    tenant_id: str = ""
    """The tenant of the owner; empty if the owner has none."""
    people: str = ""
    """The addresses of those in other roles, who have the same password."""
    advice: str = ""
    """Another way to log in, if there is no login."""


def _insertion(table: object, *names: str) -> Statement:
    columns = table.c  # type: ignore[attr-defined]
    return Statement(insert(table).values({n: bindparam(n, type_=columns[n].type) for n in names}))  # type: ignore[arg-type]


ADD_TENANT = _insertion(tenants, "id", "subdomain", "name", "status")
_new_template = insert(page_templates).values(
    {
        name: bindparam(name, type_=page_templates.c[name].type)
        for name in (
            *("id", "key", "display_name", "description", "category", "industry", "is_premium", "page_title"),
            "sections",
        )
    }
)
ADD_TEMPLATE = Statement(_new_template.on_conflict_do_nothing(index_elements=[page_templates.c.key]))
ADD_PAGE = _insertion(pages, "tenant_id", "id", "slug", "title", "description", "status")
FIND_TENANT = Statement(
    select(tenants.c.id).where(
        tenants.c.subdomain == bindparam("label", type_=tenants.c.subdomain.type), tenants.c.delete_time.is_(None)
    )
)


# Two concurrent seeds would both find no tenant.
LOCK = Statement(select(cast(func.pg_advisory_xact_lock(0x73656564), Text()).label("locked")))


def is_production(settings: Settings) -> bool:
    """Whether this deployment is for production, without sample data."""
    return settings.environment.lower() == PRODUCTION


def seed_tenant(database: Database, settings: Settings) -> Seeded:
    """Create the tenant and its owner in one transaction, unless they exist. Returns the owner's login, if it is known.

    The password is derived from the deployment's secret. It is wrong after the secret or the owner has changed it.
    """
    with database.write(Scope(platform=True)) as transaction:
        transaction.run(LOCK)
        _add_templates(transaction)
        user = transaction.run(BY_EMAIL, address=EMAIL).first()
        tenant = transaction.run(FIND_TENANT, label=SUBDOMAIN).first()
        if user is None and tenant is None:
            password = _password(settings.secret)
            return Seeded(EMAIL, password, _seed(transaction, password, settings), _people(PEOPLE))
        if user is None:
            return Seeded(advice=f"{EMAIL} is gone from the tenant `{SUBDOMAIN}`. To get in, {SIGN_UP}")
        transaction.bind(Scope(user_id=user["id"]))
        places = Memberships().of_user(transaction, user["id"])
    login = _login(user, [place["tenant_id"] for place in places], tenant, settings)
    if login.people:
        # Deployments from before have none. The owner's password is the seeded one here.
        with database.write(Scope(tenant_id=login.tenant_id)) as transaction:
            transaction.run(LOCK)
            _add_people(transaction, login.tenant_id, user["password_hash"])
    return login


def _login(user: Row, places: list[str], tenant: Row | None, settings: Settings) -> Seeded:
    passwords = Passwords(settings.password_memory)
    for password in map(_password, settings.secrets.accepted):
        if passwords.sign_in(user["password_hash"], password) is not None:
            demo = tenant["id"] if tenant and tenant["id"] in places else ""
            return Seeded(EMAIL, password, demo or next(iter(places), ""), _people(PEOPLE) if demo else "")
    return Seeded(
        advice=f"{EMAIL} has another password than the one that follows from PLINTH_SECRET_KEY. Log in with the one "
        "that was shown or chosen before. To be shown it, name the secret of that time in PLINTH_SECRET_KEY_PREVIOUS "
        f"and start again. Otherwise {SIGN_UP}"
    )


def _password(secret: bytes) -> str:
    """A password that satisfies the rules, always the same for one secret."""
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
    _add_people(transaction, tenant_id, hashed)
    for slug, title, description in PAGES:
        draft = int(Page.STATUS_DRAFT)
        write(ADD_PAGE, tenant_id=tenant_id, id=new_id(), slug=slug, title=title, description=description, status=draft)
    return tenant_id


def _add_templates(transaction: WriteTransaction) -> None:
    """Add the default templates of pages that are not there."""
    for template in DEFAULT_TEMPLATES:
        facts = template._asdict() | {"sections": json.dumps(template.sections)}
        transaction.queue(ADD_TEMPLATE, id=new_id(), **facts)


def _people(roles: Iterable[str]) -> str:
    return " ".join(map(_address, roles))


def _address(role: str) -> str:
    return EMAIL.replace(OWNER, role)


def _add_people(transaction: WriteTransaction, tenant_id: str, password_hash: str) -> None:
    """Add who is not there. Somebody who was taken out of the tenant since, or deleted, stays so."""
    for role, (first_name, last_name) in PEOPLE.items():
        user_id = new_id()
        added = transaction.run(
            ADD_USER,
            id=user_id,
            email=_address(role),
            password_hash=password_hash,
            first_name=first_name,
            last_name=last_name,
        )
        if added.returned:
            transaction.run(ADD_MEMBERSHIP, tenant_id=tenant_id, user_id=user_id, roles=[role])
