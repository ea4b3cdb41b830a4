"""Files: the assets of tenants, their bytes, and how they come and go."""

from server.data.grants import Grants
from server.domains.files.asset_contents import AssetContentService
from server.domains.files.asset_uploads import AssetUploadService
from server.domains.files.assets import AssetService
from server.domains.files.content_seals import ContentSeals
from server.domains.files.linked_assets import StoredLinkedAssets
from server.domains.files.object_store import ObjectStore
from server.domains.files.settings import FilesSettings
from server.domains.files.signed_urls import SignedUrls
from server.domains.files.storage_usage import StorageUsageService
from server.domains.files.tables import asset_uploads, assets, file_blobs, storage_usage
from server.domains.files.work_files import StoredWorkFiles
from server.kernel.module import Background, Foundation, Module, Platform, Serve, WorkerPlatform
from server.kernel.ports import Offers
from server.kernel.privacy import Export, NotPersonal, Remove
from server.kernel.roles import ORDINARY_ROLES
from server.settings import Settings


def _store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings.own(FilesSettings), settings.data_dir)


def _urls(settings: Settings) -> SignedUrls:
    return SignedUrls(settings.secrets, settings.api_address())


def _assets(platform: Platform) -> AssetService:
    return AssetService(platform.settings.own(FilesSettings), _urls(platform.settings).public)


def _contents(platform: Platform) -> AssetContentService:
    settings = platform.settings
    return AssetContentService(
        _assets(platform),
        _store(settings),
        settings.own(FilesSettings),
        _urls(settings),
        ContentSeals(settings.secrets),
        database=platform.database,
        downloads=platform.downloads,
        clock=platform.clock,
    )


def _uploads(platform: Platform) -> AssetUploadService:
    settings = platform.settings
    return AssetUploadService(_assets(platform), _store(settings), settings.own(FilesSettings), platform.database)


def _offers(foundation: Foundation) -> Offers:
    store = _store(foundation.settings)
    linked = StoredLinkedAssets(store, ContentSeals(foundation.settings.secrets))
    return Offers(work_files=StoredWorkFiles(store), linked_assets=linked)


def _background(platform: WorkerPlatform) -> Background:
    from server.domains.files.clean_up import CleanUp  # noqa: PLC0415 - in workers only

    return Background(schedules=CleanUp(platform.dispatch, _store(platform.settings), platform.clock).schedules)


EVERYONE = ("files.images.upload",)
READING = (*EVERYONE, "files.assets.read")
MODULE = Module(
    "files",
    services=(
        Serve(AssetService, _assets),
        Serve(AssetContentService, _contents),
        Serve(AssetUploadService, _uploads),
        Serve(
            StorageUsageService,
            lambda platform: StorageUsageService(platform.settings.own(FilesSettings)),
        ),
    ),
    roles={
        **dict.fromkeys(ORDINARY_ROLES, EVERYONE),
        "editor": ("files.*",),
        **dict.fromkeys(("member", "employee", "partner"), READING),
        "viewer": ("files.assets.read",),
    },
    settings=FilesSettings,
    offers=_offers,
    grants=Grants(dispatch_writes=("assets", "asset_uploads", "file_blobs", "storage_usage")),
    erases=(
        # The pictures of a person. What the person has uploaded for the tenant is the tenant's, who keeps in it what it
        # wants of persons; the id in `uploaded_by` stays as a pseudonym.
        Remove(assets, by="owner_id"),
        NotPersonal(file_blobs, "digest", why="a hash of what a tenant keeps; it goes with the last asset"),
        NotPersonal(file_blobs, "copies", "copy_sizes", why="pixels and bytes"),
        NotPersonal(asset_uploads, "parts", why="keys of pieces"),
        NotPersonal(storage_usage, "stored_bytes", why="a sum"),
    ),
    exports=(Export(assets, by="owner_id"),),
)
