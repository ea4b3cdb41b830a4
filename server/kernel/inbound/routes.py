"""Routes: from what a provider knows, such as a token in the path, to the tenant and the key that it belongs to."""

import hashlib
import secrets

from server.data.inbound_routes import ADD, FIND, REMOVE
from server.data.transactions import Database, Scope, WriteTransaction
from server.kernel.inbound.signatures import BadSignature, Sender

TOKEN_BYTES = 24
# A route is found in any tenant.
EVERYWHERE = Scope(platform=True)


def new_token() -> str:
    """A token for the path of an address that is given to a provider: 192 random bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def add_route(transaction: WriteTransaction, adapter: str, route: str, sender: Sender) -> None:
    """Let calls with this route be the sender's. Raises UniqueViolation if it is taken, in whichever tenant."""
    transaction.run(
        ADD, tenant_id=sender.tenant_id, route_hash=_hash(adapter, route), adapter=adapter, key_id=sender.key_id
    )


def remove_routes(transaction: WriteTransaction, sender: Sender) -> None:
    """Drop all routes of a key, in the transaction that ends it."""
    transaction.run(REMOVE, tenant_id=sender.tenant_id, key_id=sender.key_id)


class InboundRoutes:
    """Finds routes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, adapter: str, route: str) -> Sender:
        """The sender that a route belongs to. Raises BadSignature; it is looked up by a hash, so time tells nothing."""
        with self._database.read(EVERYWHERE) as transaction:
            row = transaction.run(FIND, route_hash=_hash(adapter, route)).first()
        if row is None:
            raise BadSignature
        return Sender(row["tenant_id"], row["key_id"])


def _hash(adapter: str, route: str) -> bytes:
    return hashlib.sha256(f"{adapter}\0{route}".encode()).digest()
