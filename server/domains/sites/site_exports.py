"""Exports of sites: the operation that makes an archive."""

from dataclasses import asdict
from functools import partial

from plinth.operations.v1.operation_pb2 import Operation
from plinth.sites.v1.site_archive_pb2 import ArchivedAsset, ArchivedBranding, SiteArchive

from server.data.connections import Result
from server.data.statements import Statement
from server.data.transactions import Database
from server.domains.sites.archive_files import MOST_BYTES, SITE, ArchiveWriter, as_json, asset_entry, page_entry
from server.domains.sites.archived_pages import SiteReader
from server.json_values import JsonValue
from server.kernel.operations import LongJob, Work
from server.kernel.ports import LinkedAsset, LinkedAssets, SitePlaces, WorkFiles

EXPORT = "sites.export_site"
FORMAT = 1
ZIP = "application/zip"


class SiteExport:
    """The work of the operation."""

    def __init__(self, database: Database, places: SitePlaces, linked: LinkedAssets, files: WorkFiles) -> None:
        self._database, self._places, self._linked, self._files = database, places, linked, files

    @property
    def long_job(self) -> LongJob:
        """What workers run. What a lost attempt has made is made anew."""
        return LongJob(EXPORT, self.run, resumable=True)

    def run(self, work: Work) -> dict[str, JsonValue]:
        """Make the archive."""
        file = self._files.begin(work.tenant_id, MOST_BYTES)
        try:
            archive = ArchiveWriter(file)
            written = self._write(work, archive)
            digest = archive.finish()
        except BaseException:
            file.abort()
            raise
        name = f"site-{work.tenant_id}.zip"
        work.leave(Operation.File(id=file.id, filename=name, content_type=ZIP, size=file.size, sha256=digest.hex()))
        return {"pages": len(written.pages), "assets": len(written.assets)}

    def _write(self, work: Work, archive: ArchiveWriter) -> SiteArchive:
        links = _Links(self._database, work, self._linked)
        site = SiteArchive(format=FORMAT)
        reader = SiteReader(partial(self._run, work), work.tenant_id)
        for done, page in enumerate(reader.pages()):
            work.progress(done, len(reader.places), page.slug)
            archive.add_text(page_entry(page.slug), links.replaced(as_json(page)))
            site.pages.append(page.slug)
        site.section_types.extend(reader.section_types())
        site.seo.CopyFrom(reader.seo())
        site.navigation.extend(reader.navigation())
        site.redirects.extend(reader.redirects())
        with self._database.read(work.scope) as transaction:
            look = self._places.branding(transaction, work.tenant_id)
        site.branding.CopyFrom(ArchivedBranding(**asdict(look)))
        links.replaced(as_json(site))
        for sha256, asset in sorted(links.assets.items()):
            archive.add(asset_entry(sha256), self._linked.read(work.tenant_id, asset))
            work.progress(len(site.pages), len(site.pages), asset.filename)
            site.assets.append(_archived(asset))
        archive.add_text(SITE, links.replaced(as_json(site)))
        return site

    def _run(self, work: Work, statement: Statement, **parameters: object) -> Result:
        """Each statement on its own, so that no connection is held while something is written."""
        with self._database.read(work.scope) as transaction:
            return transaction.run(statement, **parameters)


class _Links:
    """The assets to which texts link."""

    def __init__(self, database: Database, work: Work, linked: LinkedAssets) -> None:
        self._database, self._work, self._linked = database, work, linked
        self._known: dict[str, LinkedAsset | None] = {}
        self.assets: dict[str, LinkedAsset] = {}
        """By hash; of equal ones, the first."""

    def replaced(self, text: str) -> str:
        """A text with the hashes of assets instead of their addresses."""
        asked: set[str] = set()

        def ask(asset_id: str) -> None:
            asked.add(asset_id)

        tenant_id = self._work.tenant_id
        self._linked.relinked(text, tenant_id, ask)
        self._find(sorted(asked.difference(self._known)))
        return self._linked.relinked(text, tenant_id, self._token) if asked else text

    def _find(self, ids: list[str]) -> None:
        if not ids:
            return
        self._known.update(dict.fromkeys(ids))
        with self._database.read(self._work.scope) as transaction:
            found = self._linked.find(transaction, self._work.tenant_id, ids)
        for asset in found:
            self._known[asset.id] = asset
            first = self.assets.setdefault(asset.sha256, asset)
            if asset.id < first.id:
                self.assets[asset.sha256] = asset

    def _token(self, asset_id: str) -> str | None:
        asset = self._known[asset_id]
        return f"asset:{asset.sha256}" if asset else None


def _archived(asset: LinkedAsset) -> ArchivedAsset:
    return ArchivedAsset(
        sha256=asset.sha256,
        filename=asset.filename,
        folder=asset.folder,
        alt=asset.alt,
        content_type=asset.content_type,
        seal=asset.seal,
    )
