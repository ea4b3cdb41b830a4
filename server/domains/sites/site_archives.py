"""Archives of sites: the calls that start their operations."""

from typing import cast

from plinth.operations.v1.operation_pb2 import Operation
from plinth.sites.v1 import site_archive_pb2

from server.domains.sites.archive_files import MOST_BYTES
from server.domains.sites.archived_pages import IS_THERE
from server.domains.sites.site_exports import EXPORT
from server.domains.sites.site_imports import IMPORT, NEEDED
from server.kernel.call import Call
from server.kernel.jobs import DEFAULT_QUEUE
from server.kernel.ports import WorkFile, WorkFiles
from server.kernel.problems import Denied, StateForbids
from server.kernel.raw_bodies import unsupported
from server.kernel.resources import Service

MAGIC = b"PK\x03\x04"


class SiteArchiveService(Service):
    """Exports and imports."""

    descriptor = site_archive_pb2.DESCRIPTOR.services_by_name["SiteArchiveService"]

    def __init__(self, files: WorkFiles) -> None:
        super().__init__()
        self._files = files
        self.uploads = {"ImportSite": self._begin}

    def export_site(self, call: Call, request: site_archive_pb2.ExportSiteRequest) -> Operation:
        """Start to make an archive."""
        del request
        return call.start("site_export", DEFAULT_QUEUE, EXPORT)

    def import_site(self, call: Call, request: site_archive_pb2.ImportSiteRequest) -> Operation:
        """Start to make a site."""
        del request
        if call.reads.run(IS_THERE, tenant=call.tenant_id).value():
            metadata = {"resource_type": "plinth.dev/Tenant", "resource": str(call.tenant_id), "state": "HAS_SITE"}
            raise StateForbids("The tenant has a site already: an archive makes a new one.", metadata=metadata)
        [upload] = call.uploads
        return call.start("site_import", DEFAULT_QUEUE, IMPORT, file_id=cast("ZipSink", upload.sink).id)

    def _begin(self, call: Call, request: site_archive_pb2.ImportSiteRequest, name: str) -> "ZipSink":
        """Refuse who could not make what an archive may hold."""
        del request, name
        held = call.access.permissions if call.access else frozenset()
        for permission in NEEDED:
            if permission not in held:
                raise Denied(
                    f"An archive may hold what you cannot make: you lack `{permission}`.",
                    metadata={"permission": permission},
                )
        return ZipSink(self._files.begin(str(call.tenant_id), MOST_BYTES))


class ZipSink:
    """Where an archive goes."""

    def __init__(self, file: WorkFile) -> None:
        self._file = file
        self._head = b""
        self.id = file.id

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises Malformed for what is no ZIP file."""
        if len(self._head) < len(MAGIC):
            self._head += data[: len(MAGIC)]
            if not (self._head.startswith(MAGIC) or MAGIC.startswith(self._head)):
                raise unsupported("This is no ZIP file.")
        self._file.write(data)

    def finish(self, sha256: bytes) -> None:
        """Store it."""
        if not self._head.startswith(MAGIC):
            raise unsupported("This is no ZIP file.")
        self._file.finish(sha256)

    def settle(self) -> None:
        """It stays."""
        self._file.settle()

    def abort(self) -> None:
        """Leave nothing."""
        self._file.abort()
