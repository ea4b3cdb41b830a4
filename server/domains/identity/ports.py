"""What identity needs of other domains; app.py hands it in."""

from collections.abc import Collection, Mapping
from typing import Protocol

from server.data.statements import Row
from server.data.transactions import Transaction, WriteTransaction
from server.kernel.call import Call


class Memberships(Protocol):
    """Who belongs where."""

    def of_user(self, transaction: Transaction, user_id: str) -> list[Row]:
        """Where a user belongs, the oldest membership first: tenant_id, roles, subdomain, name. At most 100."""

    def of_user_in(self, transaction: Transaction, user_id: str, tenant_id: str) -> Row | None:
        """A user's place in one tenant, or None."""

    def of_user_at(self, transaction: Transaction, user_id: str, subdomain: str) -> Row | None:
        """A user's place in the tenant of this subdomain, or None."""

    def sign_up_policy(self, transaction: WriteTransaction, subdomain: str) -> Row | None:
        """Of a tenant: id, sign_up_open, sign_up_conflict_visible; None when there is no such tenant."""

    def join(self, transaction: WriteTransaction, tenant_id: str, user_id: str) -> None:
        """Make a user a member of a tenant."""


class Grants(Protocol):
    """What people may do."""

    def of_users(self, call: Call, user_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """The permissions that each of these users has in the call's tenant now. One statement for all of them."""
