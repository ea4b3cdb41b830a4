"""Imports and exports of dictionaries: the calls."""

from collections.abc import AsyncIterator
from typing import cast

from google.api.httpbody_pb2 import HttpBody
from plinth.dictionary.v1 import dictionary_transfer_pb2
from plinth.dictionary.v1.dictionary_pb2 import Dictionary
from plinth.dictionary.v1.dictionary_transfer_pb2 import OnConflict
from plinth.operations.v1.operation_pb2 import Operation

from server.data.transactions import ReadTransaction
from server.domains.dictionary.dictionaries import TYPE, Languages, the_dictionary
from server.domains.dictionary.exporting import LICENCES, MOST_LICENCES, export_of
from server.domains.dictionary.formats import Unreadable, detect
from server.domains.dictionary.importing import IMPORT
from server.kernel.call import Call
from server.kernel.current_access import CurrentAccess
from server.kernel.jobs import DEFAULT_QUEUE
from server.kernel.ports import WorkFile, WorkFiles
from server.kernel.problems import Denied, StateForbids, not_found
from server.kernel.raw_bodies import unsupported
from server.kernel.resources import Service
from server.kernel.transfers import Downloads

MOST_BYTES = 256 << 20
HEAD = 64 << 10
"""Bytes by which the form of a file is told."""
PUBLISH, UPDATE = "dictionary.entries.publish", "dictionary.entries.update"
Import = dictionary_transfer_pb2.ImportDictionaryRequest


class DictionaryTransferService(Service):
    """Imports and exports."""

    descriptor = dictionary_transfer_pb2.DESCRIPTOR.services_by_name["DictionaryTransferService"]

    def __init__(self, languages: Languages, files: WorkFiles, downloads: Downloads, access: CurrentAccess) -> None:
        super().__init__()
        self._languages, self._files, self._downloads, self._access = languages, files, downloads, access
        self.uploads = {"ImportDictionary": self._begin}

    def import_dictionary(self, call: Call, request: Import) -> Operation:
        """Start to import a file."""
        [upload] = call.uploads
        sink = cast("EntriesSink", upload.sink)
        return call.start(
            "dictionary_import",
            DEFAULT_QUEUE,
            IMPORT,
            dictionary_id=request.dictionary_id.lower(),
            file_id=sink.id,
            form=sink.form,
            on_conflict=int(request.on_conflict),
            publish=request.publish,
        )

    def export_dictionary(
        self, call: Call, request: dictionary_transfer_pb2.ExportDictionaryRequest
    ) -> AsyncIterator[HttpBody]:
        """Download the published entries."""

        def find(reads: ReadTransaction) -> Dictionary:
            dictionary = the_dictionary(reads, str(call.tenant_id), request.dictionary_id)
            if not request.licence and not request.mixed_licences:
                _refuse_mixture(reads, dictionary)
            return dictionary

        dictionary = self._access.read(call, find)
        return self._downloads.send(call, export_of(dictionary, request.format, request.licence))

    def _begin(self, call: Call, request: Import, name: str) -> "EntriesSink":
        """Refuse what cannot be imported before its bytes come."""
        del name
        if request.dictionary_id.lower() not in self._languages.of(str(call.tenant_id)):
            raise not_found(TYPE, request.dictionary_id)
        held = call.access.permissions if call.access else frozenset[str]()
        needed = [PUBLISH] if request.publish else []
        needed += [UPDATE] if request.on_conflict == OnConflict.ON_CONFLICT_REPLACE else []
        for permission in needed:
            if permission not in held:
                raise Denied(f"This import needs `{permission}`.", metadata={"permission": permission})
        return EntriesSink(self._files.begin(str(call.tenant_id), MOST_BYTES), int(request.format))


def _refuse_mixture(reads: ReadTransaction, dictionary: Dictionary) -> None:
    """Raise StateForbids if the published entries have several licences."""
    key = {"tenant": dictionary.tenant_id, "dictionary": dictionary.id}
    rows = reads.run(LICENCES, **key, own_licence=dictionary.licence, most=MOST_LICENCES).all()
    if len(rows) > 1:
        licences = ", ".join(f"{row['licence'] or 'none'} ({row['count']})" for row in rows)
        metadata = {"resource_type": TYPE, "resource": dictionary.id, "state": "MIXED_LICENCES", "licences": licences}
        raise StateForbids(f"The entries have several licences: {licences}. Name one, or allow it.", metadata=metadata)


class EntriesSink:
    """Where a file of entries goes. If its form is not named, its beginning tells it."""

    def __init__(self, file: WorkFile, form: int) -> None:
        self._file = file
        self._head = b""
        self.form = form
        self.id = file.id

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises Malformed for what is in no form that can be read."""
        if not self.form and len(self._head) < HEAD:
            self._head += data[: HEAD - len(self._head)]
            if len(self._head) == HEAD:
                self._detect()
        self._file.write(data)

    def finish(self, sha256: bytes) -> None:
        """Store it."""
        if not self.form:
            self._detect()
        self._file.finish(sha256)

    def settle(self) -> None:
        """It stays."""
        self._file.settle()

    def abort(self) -> None:
        """Leave nothing."""
        self._file.abort()

    def _detect(self) -> None:
        try:
            self.form = detect(self._head)
        except Unreadable as fault:
            raise unsupported(f"The file is in no form that can be imported: {fault}") from fault
