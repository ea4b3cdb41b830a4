"""The secret of a deployment, encrypted with AES-256-GCM under a key that scrypt derives from a passphrase."""

import json
import os
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from server.backup.outcomes import Damaged
from server.faults import Fault
from server.settings import Settings

SHORTEST_PASSPHRASE = 12
# 128 MiB and a few tenths of a second for each guess.
COST, BLOCK_SIZE, PARALLELISM = 2**17, 8, 1
SALT_SIZE, NONCE_SIZE, KEY_SIZE = 16, 12, 32


class WrongPassphrase(Fault):
    """The passphrase is wrong. The hash of the part has already shown that the part is intact."""


@dataclass(frozen=True, kw_only=True)
class SecretKeys:
    """The secrets of a deployment. `previous` and `next` are empty outside a rotation."""

    secret: str
    previous: str = ""
    next: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "SecretKeys":
        """The secrets in force."""
        others = {"previous": settings.secret_key_previous, "next": settings.secret_key_next}
        known = {name: key.get_secret_value() for name, key in others.items() if key is not None}
        return cls(secret=settings.secret.decode(), **known)

    @property
    def variables(self) -> str:
        """The secrets as settings in a file of variables."""
        lines = f"PLINTH_SECRET_KEY={self.secret}\n"
        lines += f"PLINTH_SECRET_KEY_PREVIOUS={self.previous}\n" if self.previous else ""
        return lines + (f"PLINTH_SECRET_KEY_NEXT={self.next}\n" if self.next else "")


def seal(secrets: SecretKeys, passphrase: str, backup_id: str) -> str:
    """Encrypt the secrets, for this backup only. Returns the text of the part."""
    salt, nonce = os.urandom(SALT_SIZE), os.urandom(NONCE_SIZE)
    sealed = AESGCM(_key(passphrase, salt)).encrypt(nonce, json.dumps(asdict(secrets)).encode(), backup_id.encode())
    how = {"kdf": "scrypt", "n": COST, "r": BLOCK_SIZE, "p": PARALLELISM, "cipher": "AES-256-GCM"}
    fields = {"salt": salt, "nonce": nonce, "ciphertext": sealed}
    return json.dumps(how | {name: b64encode(value).decode() for name, value in fields.items()}, indent=2) + "\n"


def unseal(path: Path, passphrase: str, backup_id: str) -> SecretKeys:
    """Decrypt a part. Raises WrongPassphrase, and Damaged for a file that is no such part."""
    try:
        part = json.loads(path.read_text())
        salt, nonce, sealed = (b64decode(part[name]) for name in ("salt", "nonce", "ciphertext"))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is no encrypted secret") from error
    try:
        return SecretKeys(**json.loads(AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, backup_id.encode())))
    except (InvalidTag, ValueError) as error:
        raise WrongPassphrase(f"{path} does not open with this passphrase") from error


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_SIZE, n=COST, r=BLOCK_SIZE, p=PARALLELISM).derive(passphrase.encode())
