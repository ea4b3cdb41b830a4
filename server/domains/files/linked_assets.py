"""The public assets that content links to (kernel/ports.py, LinkedAssets)."""

import re
from collections.abc import Callable, Iterator, Sequence

from plinth.files.v1.asset_pb2 import Asset
from sqlalchemy import any_, bindparam, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Statement
from server.data.transactions import Transaction
from server.domains.files.content_seals import ContentSeals
from server.domains.files.object_keys import blob_key
from server.domains.files.object_store import ObjectStore
from server.domains.files.tables import assets
from server.kernel.ports import LinkedAsset

_id = UUID(as_uuid=False)
_a = assets.c
FIND = Statement(
    select(_a.id, _a.filename, _a.folder, _a.alt, _a.content_type, _a.size, _a.sha256, _a.blob_id)
    .where(
        _a.tenant_id == bindparam("tenant", type_=_id),
        _a.id == any_(bindparam("ids", type_=ARRAY(_id))),
        _a.delete_time.is_(None),
        _a.is_public,
        _a.state == literal_column(str(int(Asset.STATE_READY))),
    )
    .order_by(_a.id)
)
"""Takes `tenant` and `ids`."""


class StoredLinkedAssets:
    """Finds and reads them."""

    def __init__(self, store: ObjectStore, seals: ContentSeals) -> None:
        self._store, self._seals = store, seals

    def relinked(self, text: str, tenant_id: str, new: Callable[[str], str | None]) -> str:
        """A text in which `new`, which takes the id of an asset, says where each address of one leads."""
        address = rf"(?:https?://[^\s\"'<>\\]+?)?/api/v1/tenants/{tenant_id}/assets/([0-9a-f-]{{36}})/download"
        return re.sub(address, lambda found: new(found[1]) or found[0], text)

    def find(self, transaction: Transaction, tenant_id: str, ids: Sequence[str]) -> list[LinkedAsset]:
        """Those that are public and there."""
        rows = transaction.run(FIND, tenant=tenant_id, ids=list(ids)).all()
        return [LinkedAsset(**row, seal=self._seals.seal(row["content_type"], row["sha256"])) for row in rows]

    def read(self, tenant_id: str, asset: LinkedAsset) -> Iterator[bytes]:
        """The bytes of one."""
        return self._store.read(blob_key(tenant_id, asset.blob_id))
