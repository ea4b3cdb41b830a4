"""The report of an import: what was refused, line by line, as a file of its operation."""

import hashlib
import json
from collections.abc import Mapping
from typing import BinaryIO

from google.protobuf import json_format
from plinth.operations.v1.operation_pb2 import Operation

from server.json_values import JsonValue
from server.kernel.ports import WorkFiles

MOST_LINES = 100_000
JSON_LINES = "application/x-ndjson"
PIECE = 1 << 20


class ImportReport:
    """What was refused. Nothing is left of it if nothing was."""

    def __init__(self, file: BinaryIO) -> None:
        """`file` holds the lines until they are left. It is the caller's, who closes it."""
        self._file, self._hash = file, hashlib.sha256()
        self._lines = 0

    def add(self, place: int, headword: str, error: str) -> None:
        """Add a line, if there is room."""
        if self._lines == MOST_LINES:
            return
        line = json.dumps({"line": place, "headword": headword, "error": error}, ensure_ascii=False)
        data = f"{line}\n".encode()
        self._file.write(data)
        self._hash.update(data)
        self._lines += 1

    def leave(self, files: WorkFiles, tenant_id: str, name: str) -> dict[str, JsonValue]:
        """Store the lines. Returns the facts of the file, as `left_file` takes them; none if nothing was refused."""
        if not self._lines:
            return {}
        size = self._file.seek(0, 2)
        file = files.begin(tenant_id, size)
        self._file.seek(0)
        try:
            for piece in iter(lambda: self._file.read(PIECE), b""):
                file.write(piece)
            file.finish(self._hash.digest())
            file.settle()
        except BaseException:
            file.abort()
            raise
        return {"id": file.id, "filename": name, "size": size, "sha256": self._hash.hexdigest()}


def left_file(facts: Mapping[str, JsonValue]) -> Operation.File:
    """The file of an operation, from the facts of a report that was left."""
    file = json_format.ParseDict(dict(facts), Operation.File())
    file.content_type = JSON_LINES
    return file
