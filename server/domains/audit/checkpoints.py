"""Checkpoints: signed statements of the size and the root of a tenant's log.

They are notes (C2SP signed-note and tlog-checkpoint) with Ed25519 signatures. The key is derived from the deployment's
secret. After a rotation of the secret the previous key still verifies, and a note may carry signatures of both.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.domains.audit.merkle import HASH_BYTES
from server.kernel.keys import derive_key
from server.secrets import Secrets

KEY_NAME = "plinth.dev/audit"
ED25519 = b"\x01"
ID_BYTES = 4
DASH = "\N{EM DASH} "
MOST_SIGNATURES = 16


class TreeHead(NamedTuple):
    """The content of a checkpoint."""

    tenant_id: str
    tree_size: int
    root_hash: bytes

    @property
    def text(self) -> str:
        """The signed text."""
        return f"{origin(self.tenant_id)}\n{self.tree_size}\n{_base64(self.root_hash)}\n"


class MalformedNote(ValueError):
    """A text that is no checkpoint."""


class Standing(Enum):
    """The verdict on a note by its signatures of known keys."""

    SIGNED = "signed"
    UNKNOWN = "signed by no known key"
    FORGED = "not what the key it names has signed"


def origin(tenant_id: str) -> str:
    """The name of a tenant's log."""
    return f"{KEY_NAME}/{tenant_id}"


def parse(note: str) -> TreeHead:
    """The content of a note, without a check of its signatures. Raises MalformedNote."""
    lines = note.partition("\n\n")[0].split("\n")
    try:
        name, size, root = lines
        head = TreeHead(name.removeprefix(f"{KEY_NAME}/"), int(size), base64.b64decode(root, validate=True))
    except ValueError as error:
        raise MalformedNote("a checkpoint has three lines: origin, size and root") from error
    if not note.startswith(f"{head.text}\n") or len(head.root_hash) != HASH_BYTES or head.tree_size < 0:
        raise MalformedNote("a checkpoint has its size, and the base64 of its root, in their shortest form")
    return head


@dataclass(frozen=True, slots=True)
class CheckpointKey:
    """A key pair, with the name and id that notes show."""

    private: Ed25519PrivateKey
    public: bytes
    id: bytes

    @classmethod
    def of(cls, secret: bytes) -> "CheckpointKey":
        """The key pair derived from a secret of the deployment."""
        private = Ed25519PrivateKey.from_private_bytes(derive_key(secret, "audit checkpoint"))
        public = private.public_key().public_bytes_raw()
        return cls(private, public, hashlib.sha256(f"{KEY_NAME}\n".encode() + ED25519 + public).digest()[:ID_BYTES])

    @property
    def verifier_key(self) -> str:
        """The public key in the format of note verifiers."""
        return f"{self.key_id}+{_base64(ED25519 + self.public)}"

    @property
    def key_id(self) -> str:
        """The name of the key with its hash."""
        return f"{KEY_NAME}+{self.id.hex()}"

    def signature_line(self, text: str) -> str:
        """The line of a note with a signature of its text."""
        return f"{DASH}{KEY_NAME} {_base64(self.id + self.private.sign(text.encode()))}\n"

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature of a text."""
        try:
            self.private.public_key().verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


class CheckpointKeys:
    """Signs checkpoints, and verifies their signatures."""

    def __init__(self, secrets: Secrets) -> None:
        self.all = [CheckpointKey.of(secret) for secret in secrets.accepted]
        self._by_id = {key.id: key for key in self.all}

    @property
    def current(self) -> CheckpointKey:
        """The key that signs."""
        return self.all[0]

    def sign(self, head: TreeHead) -> str:
        """The note of a tree head."""
        return f"{head.text}\n{self.current.signature_line(head.text)}"

    def sign_too(self, note: str) -> str:
        """The note with an additional signature of the current key."""
        return note + self.current.signature_line(parse(note).text)

    def is_current(self, note: str) -> bool:
        """Whether the current key has signed a note."""
        return self.current.id in dict(_signatures(note))

    def standing(self, note: str) -> Standing:
        """The verdict on the signatures of a note. One invalid signature makes the note forged."""
        text = parse(note).text
        known = [(key, signature) for name, signature in _signatures(note) if (key := self._by_id.get(name))]
        if not all(key.has_signed(text, signature) for key, signature in known):
            return Standing.FORGED
        return Standing.SIGNED if known else Standing.UNKNOWN


def _signatures(note: str) -> list[tuple[bytes, bytes]]:
    """The signatures under the name of Plinth's key, each with the id of its key."""
    found = []
    for line in note.partition("\n\n")[2].split("\n")[:MOST_SIGNATURES]:
        name, _, encoded = line.removeprefix(DASH).partition(" ")
        if line.startswith(DASH) and name == KEY_NAME:
            try:
                decoded = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                decoded = b""
            found.append((decoded[:ID_BYTES], decoded[ID_BYTES:]))
    return found


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
