"""Letterheads: the sender's name, the address for answers and the footer that a tenant gives its mail."""

from collections.abc import Callable

from server.data.transactions import Database, Scope, Transaction
from server.kernel.ports import TenantPreferences


class Letterheads:
    """The letterheads of tenants, as they have chosen them by now."""

    def __init__(self, database: Database, preferences_of: Callable[[Transaction, str], TenantPreferences]) -> None:
        """`database` is that of the runtime role."""
        self._database = database
        self._preferences_of = preferences_of

    def of(self, tenant_id: str | None) -> TenantPreferences:
        """That of a tenant. Mail about an account belongs to no tenant, and has none."""
        if not tenant_id:
            return TenantPreferences()
        with self._database.read(Scope(tenant_id)) as transaction:
            return self._preferences_of(transaction, tenant_id)
