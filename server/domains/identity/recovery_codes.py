"""Recovery codes: they sign in without the authenticator app, each once. The database has hashes of them."""

import base64
import secrets
from hashlib import sha256

from sqlalchemy import bindparam, delete, func, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.identity.letters import given_hashes
from server.domains.identity.tables import recovery_codes
from server.kernel.call import Call

CODES = 10
CODE_BYTES = 10
"""80 random bits, so that guesses need not be counted."""
GROUP = 4

_codes = recovery_codes.c
_user = bindparam("user_id", type_=UUID(as_uuid=False))
REMOVE = Statement(delete(recovery_codes).where(_codes.user_id == _user))
ADD = Statement(
    text(
        """
INSERT INTO recovery_codes (user_id, code_hash)
SELECT CAST(:user_id AS uuid), decode(hash, 'hex') FROM unnest(CAST(:hashes AS text[])) AS given (hash)
"""
    )
)
"""Takes `hashes` in hexadecimal."""
USE = Statement(
    update(recovery_codes)
    .where(_codes.user_id == _user, _codes.code_hash.in_(given_hashes()), _codes.use_time.is_(None))
    .values(use_time=func.now())
)
"""Takes `hashes` in hexadecimal."""


class RecoveryCodes:
    """Makes recovery codes, and takes them."""

    def replace(self, call: Call, user_id: str) -> list[str]:
        """Make new codes of a user, and forget all older ones."""
        codes = [secrets.token_bytes(CODE_BYTES) for _ in range(CODES)]
        texts = [base64.b32encode(code).decode().lower() for code in codes]
        self.remove(call, user_id)
        call.writes.queue(ADD, user_id=user_id, hashes=[_hash(user_id, code) for code in texts])
        return ["-".join(code[at : at + GROUP] for at in range(0, len(code), GROUP)) for code in texts]

    def remove(self, call: Call, user_id: str) -> None:
        """Forget all codes of a user."""
        call.writes.queue(REMOVE, user_id=user_id)

    def use(self, call: Call, user_id: str, code: str) -> bool:
        """Use a code up, given in small letters without hyphens. Returns whether it was one of this user's."""
        return bool(call.writes.run(USE, user_id=user_id, hashes=[_hash(user_id, code)]).count)


def _hash(user_id: str, code: str) -> str:
    """A plain hash does for 80 random bits; a keyed one would end with a rotation of the deployment's secret."""
    return sha256(f"{user_id} {code}".encode()).hexdigest()
