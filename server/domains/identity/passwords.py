"""Passwords: argon2id with OWASP's parameters; verifying takes the same time whether or not there is a user.

A password is prepared before it is hashed and compared, as RFC 8265 has it, since one keyboard composes what another
does not: here to NFKC, which also takes wide letters and odd spaces for the plain ones. Hashes of passwords that were
not prepared are known by a second try, and replaced when it is the right one.
"""

from functools import cache, cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from server.kernel.messages import normal_form

_SIGNS_AROUND = "!@#$%^&*()-_=+[]{};:'\",.<>/?\\|`~ "


class Passwords:
    """How passwords are kept. The settings say how much memory a guess shall cost."""

    def __init__(self, memory: int) -> None:
        """`memory` is in KiB. OWASP's Password Storage Cheat Sheet: at least 19 MiB with 2 passes in 1 lane."""
        self._hasher = PasswordHasher(time_cost=2, memory_cost=memory, parallelism=1)

    def hash(self, password: str) -> str:
        """The hash to store."""
        return self._hasher.hash(prepared(password))

    def sign_in(self, stored: str | None, password: str) -> str | None:
        """The hash to store from now on when the password is the one; None when it is not, or nothing is stored.

        How many hashes are computed for a wrong password depends on the password alone, so nobody can tell by the time
        whether there is a user, or how theirs was hashed.
        """
        form = prepared(password)
        if self._is(stored, form):
            return self.hash(password) if self._hasher.check_needs_rehash(stored or "") else stored
        if form != password and self._is(stored, password):
            return self.hash(password)
        return None

    def _is(self, stored: str | None, form: str) -> bool:
        """Whether this is what was hashed. Without a stored hash, spends the same time and says no."""
        try:
            return self._hasher.verify(stored or self._nobodys_hash, form) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash("nobody has this password")


def prepared(password: str) -> str:
    """The form of a password that is hashed and compared."""
    return normal_form(password, "NFKC")


def is_common(password: str) -> bool:
    """Whether a password, without signs around it, is in the list of the 30,000 most common ones."""
    lowered = password.lower()
    return not _common().isdisjoint({lowered, lowered.strip(_SIGNS_AROUND), _plain(lowered).strip(_SIGNS_AROUND)})


@cache
def _common() -> frozenset[str]:
    # Imported by whoever checks the first password: the lists take 12 MB.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

    return frozenset(FREQUENCY_LISTS["passwords"])


def _plain(password: str) -> str:
    """Without the usual stand-ins for letters: `p@ssw0rd` is `password`."""
    return password.translate(str.maketrans("@$01345", "asoieas"))
