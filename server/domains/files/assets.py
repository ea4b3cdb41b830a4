"""Assets: the files of a tenant."""

import re
from collections.abc import Callable, Iterable

from plinth.files.v1 import asset_pb2
from plinth.files.v1.asset_pb2 import Asset
from sqlalchemy import BigInteger, bindparam, func, literal_column, update
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.statements import Row, Statement
from server.domains.files.contents import StoredContent
from server.domains.files.settings import FilesSettings
from server.domains.files.sinks import LIFETIME
from server.domains.files.tables import asset_uploads, assets
from server.kernel.call import Call
from server.kernel.problems import Violation, broken_rules
from server.kernel.resources import Resource, Service

LONGEST_NAME, LONGEST_ALT = 255, 500
FOLDER = re.compile(r"(?=.{0,300}\Z)([^/\\]+(/[^/\\]+)*)?", re.DOTALL)
UNNAMED = "file"
CONTROL = re.compile(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
"""Characters that show a name as another one, or end a header."""
HIDDEN = ("blob_id", "owner_id")
_id = UUID(as_uuid=False)
BEGIN_UPLOAD = Statement(
    insert(asset_uploads).values(
        tenant_id=bindparam("tenant", type_=_id),
        id=bindparam("asset", type_=_id),
        length=bindparam("length", type_=BigInteger()),
        expire_time=func.now() + literal_column(f"interval '{LIFETIME}'"),
    )
)
"""Takes `tenant`, `asset` and `length`."""
NAME_BLOB = Statement(
    update(assets)
    .where(assets.c.tenant_id == bindparam("tenant", type_=_id), assets.c.id == bindparam("asset", type_=_id))
    .values(blob_id=bindparam("blob", type_=_id), owner_id=bindparam("owner", type_=_id))
)
"""Takes `tenant`, `asset`, `blob`, and the `owner` whose picture it is, or None."""


class AssetService(Service[Asset]):
    """Assets, without their bytes."""

    descriptor = asset_pb2.DESCRIPTOR.services_by_name["AssetService"]
    resource = Resource(
        Asset,
        assets,
        filterable=(
            *("id", "filename", "folder", "content_type", "size", "state", "uploaded_by"),
            *("create_time", "update_time"),
        ),
        sortable=("create_time", "filename", "size"),
        hidden=HIDDEN,
        computed=("url",),
    )

    def __init__(self, settings: FilesSettings, public_url: Callable[[str, str], str]) -> None:
        """`public_url` gives the address of an asset of a tenant that is public."""
        super().__init__()
        self._settings = settings
        self._public_url = public_url

    def prepare(self, call: Call, resource: Asset, before: Asset | None) -> None:
        """Tell what only the bytes tell, and who has sent them."""
        if before is not None:
            return
        resource.uploaded_by = call.caller.user_id
        if not call.uploads:
            resource.state = Asset.STATE_PENDING
            for name in ("content_type", "width", "height", "copies", "sha256"):
                resource.ClearField(name)

    def check(self, call: Call, resource: Asset, before: Asset | None) -> None:
        """Refuse names that show something else than they are, and what is too large, before its first byte."""
        if CONTROL.search(resource.filename):
            raise broken_rules([Violation("asset.filename", "has control characters", "asset.filename")])
        # Of tus, they come in a header, which has no rules of its own.
        if CONTROL.search(resource.folder) or not FOLDER.fullmatch(resource.folder):
            raise broken_rules([Violation("asset.folder", "is names with `/` between them", "asset.folder")])
        if len(resource.alt) > LONGEST_ALT:
            raise broken_rules([Violation("asset.alt", f"has more than {LONGEST_ALT} characters", "asset.alt")])
        most = max(self._settings.files_max_bytes, self._settings.files_max_image_bytes)
        if before is None and not call.uploads and not 1 <= resource.size <= most:
            raise broken_rules([Violation("asset.size", f"is between 1 and {most} bytes", "asset.size")])

    def before_write(self, call: Call, values: Row, before: Asset | None) -> None:
        """The bytes and their owner are named once the asset is there."""
        del call
        if before is None:
            values |= dict.fromkeys(HIDDEN)

    def after_write(self, call: Call, resource: Asset, before: Asset | None) -> None:
        """Begin the upload of what is PENDING."""
        if before is None and resource.state == Asset.STATE_PENDING:
            call.writes.queue(BEGIN_UPLOAD, tenant=call.tenant_id, asset=resource.id, length=resource.size)

    def present(self, call: Call, resources: list[Asset]) -> None:
        """Tell where those are that are public."""
        del call
        for asset in resources:
            is_there = asset.is_public and asset.state == Asset.STATE_READY
            asset.url = self._public_url(asset.tenant_id, asset.id) if is_there else ""


def describe(asset: Asset, stored: StoredContent, copies: Iterable[int]) -> None:
    """Tell in an asset what its bytes are. An equal file that was stored before may have other copies."""
    asset.state = Asset.STATE_READY
    asset.size = stored.size
    asset.content_type = stored.content_type
    asset.width, asset.height = stored.width, stored.height
    asset.copies[:] = copies
    asset.sha256 = stored.digest


def file_name(*names: str) -> str:
    """The first of some names that is one, without folders and control characters, as a file may be called."""
    for name in names:
        plain = CONTROL.sub("", re.split(r"[/\\]", name)[-1]).strip()[-LONGEST_NAME:]
        if plain.strip("."):
            return plain
    return UNNAMED
