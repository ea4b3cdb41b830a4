"""The manifest of a backup: `manifest.json` beside its parts."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from server.backup.outcomes import Damaged
from server.faults import Fault

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "database.dump"
CHECKPOINTS = "audit_checkpoints.jsonl"
SECRET = "secret.json"  # noqa: S105 - the name of a file
PARTS = (DATABASE, CHECKPOINTS, SECRET)
# Whether the secret is among the parts.
ENCRYPTED, LEFT_OUT = "encrypted", "left out"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of a backup: its length in bytes, and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of a backup, its time, and what is needed to check that it is complete."""

    format: int
    id: str
    plinth_version: str
    schema_revision: str
    # By PostgreSQL's clock, RFC 3339 in UTC: the time of the snapshot.
    create_time: str
    # Major versions: of the server, and of the pg_dump that read it.
    postgresql: int
    pg_dump: int
    # Number of rows by table; partitions are counted separately.
    tables: dict[str, int]
    # Number of tenants with a checkpoint. The part has a line with the latest one of each.
    audit_checkpoints: int
    # Functions that not every role may execute. A restore keeps them private.
    private_functions: list[str]
    secret: str
    # Plinth keeps no files outside PostgreSQL.
    files: str
    parts: dict[str, Part]

    def write(self, folder: Path) -> None:
        """Write the manifest durably."""
        write_part(folder / MANIFEST, f"{json.dumps(asdict(self), indent=2)}\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest. Raises Fault if it cannot be read, and Damaged if it is no manifest."""
        path = folder / MANIFEST
        try:
            text = path.read_bytes()
        except OSError as error:
            raise Fault(f"{path} cannot be read: {error.strerror}") from error
        try:
            values: Any = json.loads(text)
            if values.get("format") != FORMAT:
                raise Fault(f"{path} has format {values.get('format')}; this version of Plinth reads {FORMAT}")
            values["parts"] = {name: Part(**values["parts"][name]) for name in PARTS if name in values["parts"]}
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(f"{path} is no manifest of a backup") from error

    def faults(self, folder: Path) -> Iterator[str]:
        """The parts that are missing or changed, in words. Raises Fault if one cannot be read."""
        expected = {DATABASE, CHECKPOINTS} | ({SECRET} if self.secret == ENCRYPTED else set())
        yield from (f"{name} is not listed in {MANIFEST}" for name in sorted(expected - self.parts.keys()))
        for name, part in self.parts.items():
            try:
                found = measure(folder / name)
            except FileNotFoundError:
                yield f"{name} is missing"
                continue
            except OSError as error:
                raise Fault(f"{folder / name} cannot be read: {error.strerror}") from error
            if found != part:
                yield f"{name} was changed: {found.bytes} bytes instead of {part.bytes}, or other ones"


def measure(path: Path) -> Part:
    """The length and the hash of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Part(bytes=file.tell(), sha256=digest)


def write_part(path: Path, text: str) -> None:
    """Write a file durably that only its owner may read."""
    with path.open("x", encoding="utf-8") as file:
        path.chmod(0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
