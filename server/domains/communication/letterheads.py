"""Letterheads: the sender's name, the address for answers and the footer that a tenant's settings give its mail."""

from collections.abc import Callable

from plinth.tenancy.v1.tenant_settings_pb2 import MailSettings, TenantSettings

from server.data.transactions import Database, Scope, Transaction


class Letterheads:
    """The letterheads of tenants, as their settings are now."""

    def __init__(self, database: Database, settings_of: Callable[[Transaction, str], TenantSettings]) -> None:
        """`database` is that of the runtime role."""
        self._database = database
        self._settings_of = settings_of

    def of(self, tenant_id: str | None) -> MailSettings:
        """That of a tenant. Mail about an account, which belongs to none, has none."""
        if not tenant_id:
            return MailSettings()
        with self._database.read(Scope(tenant_id)) as transaction:
            return self._settings_of(transaction, tenant_id).mail
