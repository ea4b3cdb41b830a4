"""Callers with addresses of their own, since anonymous calls are counted by address, and limits here are small."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import httpx

from tests.clients import Account, Rest, Session, Tenant, database, new_address, new_password, switch_tenant, unique
from tests.stack import Stack

# No address is used twice.
NUMBERS = count()


def address() -> str:
    """Another address of a network for benchmarks."""
    number = next(NUMBERS)
    return f"198.18.{number // 250}.{1 + number % 250}"


class Visitor(Rest):
    """REST from one address, as the proxy in front of the gateway tells it."""

    def __init__(self, stack: Stack, token: str | None = None) -> None:
        super().__init__(stack, token)
        self.address = address()

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        own = {"x-forwarded-for": self.address}
        return super().request(method, path, headers=own | dict(headers or {}), **options)

    def log_in(self, account: Account) -> httpx.Response:
        return self.post("auth/login", {"email": account.email, "password": account.password})


def join(stack: Stack) -> tuple[Account, Session]:
    """Somebody new."""
    visitor, account = Visitor(stack), Account(new_address(), new_password(), "")
    response = visitor.post("auth/signup", {"email": account.email, "password": account.password})
    assert response.status_code == 201, response.text
    return replace(account, id=response.json()["user"]["id"]), Session.of(visitor.log_in(account))


def found(stack: Stack) -> Tenant:
    """A new tenant of somebody new."""
    owner, session = join(stack)
    subdomain = unique("t")
    response = Rest(stack, session.access_token).post("tenants", {"subdomain": subdomain, "name": "Acme"})
    assert response.status_code == 201, response.text
    tenant_id = response.json()["id"]
    return Tenant(stack, tenant_id, subdomain, owner, switch_tenant(stack, session, tenant_id))


def colleague(tenant: Tenant) -> Session:
    """Somebody new in a tenant, who may what its owner may."""
    account, session = join(tenant.stack)
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO memberships (tenant_id, user_id, roles) VALUES (%s, %s, %s)",
            (tenant.id, account.id, ["owner"]),
        )
    return switch_tenant(tenant.stack, session, tenant.id)


def administrator(stack: Stack) -> Session:
    """Somebody new who administers the platform."""
    account, _ = join(stack)
    with database(stack) as connection:
        connection.execute("UPDATE users SET is_platform = true WHERE id = %s", (account.id,))
    return Session.of(Visitor(stack).log_in(account))
