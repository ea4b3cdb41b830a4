#!/usr/bin/env python3
"""Verify an export of Plinth's audit log with nothing but the public key.

    python verify.py --key 'plinth.dev/audit+<hash>+<base64>' export.jsonl

The export is what `GET /api/v1/tenants/{tenant}/audit/export?format=EXPORT_FORMAT_JSONL&proofs=true` answers, the key
one of those that `GET /api/v1/audit/keys` lists. Get the key once, and not from whoever gives you the export.

Whatever is wrong is told by line. The exit status is 0 if all is right, 1 if anything is not, 2 if nothing could be
verified. An entry counts as proved if the signed checkpoint seals it: a complete export has all leaves of the tree (RFC
9162), whose root has to be the signed one; of a filtered export, each line leads to that root by its own proof. What is
personal may be missing, for it can be erased; what is there has to be what the entry commits to.

This file stands alone: Python 3.11, and the package `cryptography` for Ed25519. It shares no code with the server.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = 1
LONGEST_LINE = 16 * 1024 * 1024
ED25519 = b"\x01"
EMPTY_ROOT = hashlib.sha256(b"").digest()


class CannotVerify(Exception):
    """There is nothing that could be verified."""


# Trees ---------------------------------------------------------------------------------------------------------------


def leaf_hash(entry: dict[str, Any]) -> bytes:
    """The hash of an entry: SHA-256 over a zero byte and its canonical JSON (RFC 8785, RFC 9162 2.1.1)."""
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(b"\x00" + _utf8(canonical)).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _utf8(text: str) -> bytes:
    """Text as bytes, even when it is none that UTF-8 has."""
    return text.encode(errors="surrogatepass")


class GrowingTree:
    """The tree over leaves that come one by one: of each complete subtree, only the root is kept."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        """One more leaf."""
        self.size += 1
        leaves, root = 1, leaf
        while self._subtrees and self._subtrees[-1][0] == leaves:
            root = node_hash(self._subtrees.pop()[1], root)
            leaves *= 2
        self._subtrees.append((leaves, root))

    @property
    def root(self) -> bytes:
        """The root over all of them."""
        if not self._subtrees:
            return EMPTY_ROOT
        subtrees = [root for _, root in self._subtrees]
        root = subtrees.pop()
        while subtrees:
            root = node_hash(subtrees.pop(), root)
        return root


def root_of_proof(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162 2.1.3.1); None if it is too short or too long."""
    if size == 1:
        return leaf if not proof else None
    if not proof:
        return None
    left_size = 1
    while left_size * 2 < size:
        left_size *= 2
    *below, sibling = proof
    if index < left_size:
        root = root_of_proof(leaf, index, left_size, below)
        return root and node_hash(root, sibling)
    root = root_of_proof(leaf, index - left_size, size - left_size, below)
    return root and node_hash(sibling, root)


# Checkpoints ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """A public key as C2SP signed-note writes it: `<name>+<hash>+<base64>`."""

    name: str
    id: bytes
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Read one. Raises CannotVerify."""
        try:
            name, key_hash, encoded = text.strip().split("+", 2)
            decoded = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise CannotVerify(f"no verifier key: {text.strip()!r}") from error
        key_id = hashlib.sha256(name.encode() + b"\n" + decoded).digest()[:4]
        if decoded[:1] != ED25519 or key_id.hex() != key_hash:
            raise CannotVerify(f"no Ed25519 verifier key, or not the one that its hash is of: {text.strip()!r}")
        return cls(name, key_id, decoded[1:])


@dataclass(frozen=True)
class Checkpoint:
    """What was signed: whose log had how many entries, and which root."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def open(cls, note: str, keys: Iterable[Key]) -> "Checkpoint":
        """Read one that at least one of the keys has signed, and none of them has not. Raises CannotVerify."""
        text, blank, signatures = note.rpartition("\n\n")
        known = {(key.name, key.id): key for key in keys}
        signed = False
        for line in signatures.splitlines() if blank else ():
            dash, name, encoded = line.split(" ", 2) if line.count(" ") == 2 else ("", "", "")  # noqa: PLR2004
            blob = _bytes(encoded)
            key = known.get((name, blob[:4])) if dash == "\N{EM DASH}" else None
            if key is not None:
                _check(key, blob[4:], f"{text}\n".encode())
                signed = True
        if not signed:
            raise CannotVerify("none of the given keys has signed the checkpoint")
        origin, size, root, *_ = [*text.split("\n"), "", "", ""]
        if not size.isdecimal() or len(_bytes(root)) != hashlib.sha256().digest_size:
            raise CannotVerify("what was signed is no checkpoint")
        return cls(origin, int(size), _bytes(root))


def _check(key: Key, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise CannotVerify(f"the checkpoint is not what {key.name} has signed") from error


def _bytes(encoded: object) -> bytes:
    """What base64 stands for; nothing for what is none."""
    try:
        return base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except ValueError:
        return b""


# Exports -------------------------------------------------------------------------------------------------------------


@dataclass
class Verification:
    """The verification of one export, line by line."""

    keys: list[Key]
    tell: Callable[[str], object]
    """Takes a line for whatever is wrong."""
    proved: int = 0
    unsealed: int = 0
    gone: int = 0
    erased: int = 0
    faults: int = 0
    _number: int = 0
    _tree: GrowingTree = field(default_factory=GrowingTree)
    _next: int = 0

    def run(self, lines: Iterable[bytes]) -> Checkpoint:
        """Verify an export. Raises CannotVerify when it has no signed checkpoint."""
        numbered = iter(lines)
        header = self._header(next(numbered, b""))
        is_complete = header.get("complete") is True
        checkpoint = Checkpoint.open(str(header.get("checkpoint")), self.keys)
        if checkpoint.origin != header.get("origin") or not checkpoint.origin.endswith(f"/{header.get('tenant_id')}"):
            raise CannotVerify("the checkpoint is that of another log")
        self._number = 1
        for line in numbered:
            self._number += 1
            self._line(line, header, checkpoint, is_complete=is_complete)
        if is_complete:
            self._compare(checkpoint)
        return checkpoint

    def _header(self, line: bytes) -> dict[str, Any]:
        header = _object(line)
        if header is None or header.get("format") != FORMAT:
            raise CannotVerify(f"the first line is no header of format {FORMAT}")
        if not header.get("checkpoint"):
            raise CannotVerify("nothing was sealed yet when this was exported")
        return header

    def _line(self, line: bytes, header: dict[str, Any], checkpoint: Checkpoint, *, is_complete: bool) -> None:
        record = _object(line)
        if record is None:
            self._fault("cannot be read")
            return
        index, entry = record.get("leaf_index"), record.get("entry")
        if entry is not None and not _is_flat(entry):
            self._fault("has no entry that could be read")
            return
        name = entry.get("id") if entry else record.get("entry_id")
        if entry is not None:
            self._entry(record, entry, header)
        if index is None:
            self.unsealed += 1
        elif not isinstance(index, int) or not 0 <= index < checkpoint.size:
            self._fault(f"entry {name} says that it is sealed as leaf {index}, of {checkpoint.size}")
        elif is_complete:
            self._leaf(record, index, name, header)
        else:
            self._proof(record, index, name, checkpoint)

    def _entry(self, record: dict[str, Any], entry: dict[str, Any], header: dict[str, Any]) -> None:
        if entry.get("tenant_id") != header.get("tenant_id"):
            self._fault(f"entry {entry.get('id')} is another tenant's")
        commitments = _object(_utf8(str(entry.get("commitments")))) or {}
        personal = record.get("personal")
        if not isinstance(personal, dict):
            self._fault(f"entry {entry.get('id')} has no personal data that could be read")
            return
        for name, kept in personal.items():
            if not _is_committed(kept, commitments.get(name)):
                self._fault(f"entry {entry.get('id')} has personal data that it does not commit to: {name}")
        self.erased += bool(commitments.keys() - personal.keys())

    def _leaf(self, record: dict[str, Any], index: int, name: object, header: dict[str, Any]) -> None:
        """A line of a complete export: its leaf is the next one, and its entry has the hash of that leaf."""
        if index != self._next:
            self._fault(f"leaf {index} stands where leaf {self._next} should")
        self._next = index + 1
        leaf, entry = _bytes(record.get("hash")), record.get("entry")
        self._tree.add(leaf)
        if entry is None:
            self._gone(index, name, header)
        elif leaf_hash(entry) != leaf:
            self._fault(f"entry {name} is not what was sealed as leaf {index}")
        else:
            self.proved += 1

    def _gone(self, index: int, name: object, header: dict[str, Any]) -> None:
        """An entry is not there any more, as is right if it was too old to be kept. Its id tells when it was made."""
        self.gone += 1
        try:
            made = int(str(name).replace("-", "")[:12], 16) / 1000
            is_old = made < datetime.fromisoformat(str(header.get("retained_from"))).timestamp()
        except ValueError:
            is_old = False
        if not is_old:
            self._fault(f"entry {name}, leaf {index}, is gone, and was not too old to be kept")

    def _proof(self, record: dict[str, Any], index: int, name: object, checkpoint: Checkpoint) -> None:
        """A line of a filtered export: its entry leads to the signed root."""
        proof, entry = record.get("proof"), record.get("entry")
        hashes = [_bytes(part) for part in proof] if isinstance(proof, list) else []
        if entry is None or root_of_proof(leaf_hash(entry), index, checkpoint.size, hashes) != checkpoint.root:
            self._fault(f"entry {name} is not what was sealed as leaf {index}, or its proof is none")
        else:
            self.proved += 1

    def _compare(self, checkpoint: Checkpoint) -> None:
        """All leaves together have to be those of the checkpoint."""
        if self._tree.size != checkpoint.size:
            self._fault(f"ends after {self._tree.size} leaves, and {checkpoint.size} were sealed")
        elif self._tree.root != checkpoint.root:
            self._fault("ends with another root than the signed one: not all hashes are those that were sealed")

    def _fault(self, what: str) -> None:
        self.faults += 1
        self.tell(f"line {self._number}: {what}")


def _is_flat(entry: object) -> bool:
    """Whether it is an object of text, whole numbers, booleans and null."""
    return isinstance(entry, dict) and all(isinstance(value, str | int | None) for value in entry.values())


def _is_committed(kept: object, commitment: object) -> bool:
    if not isinstance(kept, dict) or not isinstance(kept.get("value"), str):
        return False
    try:
        salt = bytes.fromhex(kept["salt"])
    except (KeyError, TypeError, ValueError):
        return False
    return salt.hex() == kept["salt"] and hashlib.sha256(salt + _utf8(kept["value"])).hexdigest() == commitment


def _object(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, without members of the same name; None for anything else."""
    try:
        found = json.loads(line, object_pairs_hook=_without_copies)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _without_copies(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


# The command ---------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Verify the export that the command line names; the exit status."""
    parser = argparse.ArgumentParser(description="Verify an export of Plinth's audit log.")
    parser.add_argument("export", help="the JSON Lines that were exported with proofs; - for standard input")
    parser.add_argument("--key", action="append", required=True, help="a verifier key, or a file of them, one per line")
    options = parser.parse_args(arguments)
    try:
        verification = Verification([key for text in options.key for key in _keys(text)], print)
        with sys.stdin.buffer if options.export == "-" else Path(options.export).open("rb") as export:
            checkpoint = verification.run(_lines(export))
    except (CannotVerify, OSError) as error:
        print(f"cannot be verified: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(_summary(verification, checkpoint))  # noqa: T201
    return 1 if verification.faults else 0


def _keys(text: str) -> Iterator[Key]:
    path = Path(text)
    lines = path.read_text().splitlines() if "+" not in text or path.is_file() else [text]
    return (Key.parse(line) for line in lines if line.strip())


def _lines(export: Any) -> Iterator[bytes]:
    while line := export.readline(LONGEST_LINE):
        yield line


def _summary(verification: Verification, checkpoint: Checkpoint) -> str:
    parts = [f"{verification.proved} entries are those that {checkpoint.origin} sealed, as of {checkpoint.size}"]
    for count, what in (
        (verification.erased, "of which personal data was erased"),
        (verification.gone, "more are gone, of which only the hashes are left"),
        (verification.unsealed, "were not sealed yet, so nothing is proved of them"),
    ):
        if count:
            parts.append(f"{count} {what}")
    faults = f"{verification.faults} fault{'s' * (verification.faults != 1)}" if verification.faults else "no fault"
    return f"{'; '.join(parts)}: {faults}"


if __name__ == "__main__":
    sys.exit(main())
