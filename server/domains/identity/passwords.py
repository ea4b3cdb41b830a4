"""Passwords: argon2id with OWASP's parameters; verifying takes the same time whether or not there is a user."""

from functools import cache, cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_SIGNS_AROUND = "!@#$%^&*()-_=+[]{};:'\",.<>/?\\|`~ "


class Passwords:
    """How passwords are kept. The settings say how much memory a guess shall cost."""

    def __init__(self, memory: int) -> None:
        """`memory` is in KiB. OWASP's Password Storage Cheat Sheet: at least 19 MiB with 2 passes in 1 lane."""
        self._hasher = PasswordHasher(time_cost=2, memory_cost=memory, parallelism=1)

    def hash(self, password: str) -> str:
        """The hash to store."""
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one. Without a stored hash, spends the same time and says no."""
        try:
            return self._hasher.verify(stored or self._nobodys_hash, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    def needs_rehash(self, stored: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash("nobody has this password")


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
