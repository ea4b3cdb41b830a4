"""How a tenant's assets are made and changed."""

from typing import Any

from tests.clients import Tenant, unique
from tests.contract.instances import IMAGE, MARK, Instance, Mutation, Named, made
from tests.domains.files.samples import image, uploaded

CREATE = "/plinth.files.v1.AssetUploadService/CreateAssetUpload"


def new_asset(name: str = "") -> dict[str, Any]:
    """The JSON of a new asset whose bytes follow."""
    return {"filename": name or f"{unique('planted')}.pdf", "size": 1234}


def _asset(tenant: Tenant) -> Named:
    """With its bytes, and another one of which none has come."""
    asset = uploaded(tenant, image(), f"{MARK}-{tenant.subdomain}.png")
    coming = made(tenant, f"{tenant.path}/assets", new_asset(f"{MARK}-{tenant.subdomain}.png") | {"size": len(IMAGE)})
    named = {"asset_id": asset["id"], "file_id": asset["id"], "upload_id": coming["id"]}
    return named | {"uploaded_by": asset["uploadedBy"], "etag": asset["etag"]}


INSTANCES = {"plinth.files.v1.Asset": Instance(_asset, new_asset)}
MUTATIONS = (
    Mutation("AssetService/CreateAsset"),
    Mutation("AssetService/UpdateAsset", lambda _: {"updateMask": "filename"}, mask=("filename",)),
    Mutation("AssetService/DeleteAsset"),
    Mutation("AssetService/UndeleteAsset", before="DeleteAsset"),
    Mutation("AssetContentService/UploadAsset"),
    Mutation("AssetContentService/BulkUploadAssets"),
    Mutation("AssetContentService/UploadImage"),
    Mutation("AssetContentService/UploadImages"),
    Mutation("AssetUploadService/CreateAssetUpload"),
    Mutation("AssetUploadService/AppendToAssetUpload"),
    Mutation("AssetUploadService/CancelAssetUpload", lambda sweep: {"uploadId": sweep.answers[CREATE].id}),
    Mutation("AssetContentService/DeleteUploadedFile"),
)
